"""What each sample frame is: rows, label, licence, where its rows come from and which package must be there."""

from __future__ import annotations

from dataclasses import dataclass

EXTRA = "samples"


@dataclass(frozen=True)
class SampleFacts:
    """One sample.

    Attributes:
        rows: How many `load_sample` returns by default: all of a fixed set.
        label: Its label, which is the last column.
        what: What a row is, and what is asked.
        licence: Of the rows, not of the package that ships them.
        source: Who collected them, or how they are made.
        package: The package that ships the file; empty where Thermocline needs it anyway.
        module: The package's name in Python.
        version: The version of the package that the digest was taken with.
        digest: SHA-256 of the rows, see `packaged_samples.digest_of`; empty where the rows are not fixed.
    """

    rows: int
    label: str
    what: str
    licence: str
    source: str
    package: str = ""
    module: str = ""
    version: str = ""
    digest: str = ""

    @property
    def extra(self) -> str:
        """The extra that installs the package, or an empty string."""
        return EXTRA if self.package else ""

    @property
    def fixed(self) -> bool:
        """Whether the rows are the same whatever is installed."""
        return self.source != INSTALLED


INSTALLED = "the installed numpy, pandas, scipy, scikit-learn and torch"
UCI = "CC BY 4.0 (UCI Machine Learning Repository)"

SAMPLES: dict[str, SampleFacts] = {
    "docstrings": SampleFacts(
        2500,
        "library",
        "first paragraphs of docstrings, with kind and two counts; which library is it?",
        "the licences of these libraries, all BSD-3-Clause",
        INSTALLED,
    ),
    "digits": SampleFacts(
        1797,
        "label",
        "scikit-learn's handwritten digits as PNG files; which digit is it?",
        UCI,
        "scikit-learn: Alpaydin and Kaynak (1998), the test part",
    ),
    "mixed": SampleFacts(
        1500,
        "priority",
        "parcels: image, note, depot and weight each carry part of the priority",
        "Apache-2.0; the digits CC BY 4.0",
        "made up by Thermocline, with scikit-learn's digits",
    ),
    "shapes": SampleFacts(
        360,
        "mask",
        "circles, squares and triangles on textured grounds, each with a mask; which class is each pixel?",
        "Apache-2.0",
        "made up by Thermocline",
    ),
    "penguins": SampleFacts(
        344,
        "species",
        "penguins of Palmer Archipelago: island, sex, year and four measures; which of three species is it?",
        "CC0",
        "palmerpenguins: Gorman, Williams and Fraser (2014), Palmer Station LTER",
        package="palmerpenguins",
        module="palmerpenguins",
        version="0.1.6",
        digest="9e025adc397773e5a63dc3a904be0bbe3fef5631f9bfcd44adba41d5a34926ef",
    ),
    "weather": SampleFacts(
        1461,
        "weather",
        "days in Seattle, 2012 to 2015: date, rain, temperatures and wind; drizzle, fog, rain, snow or sun?",
        "public domain (US government)",
        "vega-datasets: NOAA",
        package="vega-datasets",
        module="vega_datasets",
        version="0.9.0",
        digest="62f0609f787158128aa2bd102967173a4953122dd4f872bf1d502cae1037df0b",
    ),
    "questions": SampleFacts(
        624,
        "topic",
        "questions to a chat program, each with a reply; which of nine topics is it about?",
        "BSD-3-Clause",
        "chatterbot-corpus: Gunther Cox and contributors",
        package="chatterbot-corpus",
        module="chatterbot_corpus",
        version="1.3.3",
        digest="8a697412291057df8220edc70bad1ade6633841d10d149d8837f858fd6de4f18",
    ),
    "textures": SampleFacts(
        192,
        "material",
        "pieces of 64 x 64 pixels of three photographs, as grey PNG files; brick, grass or gravel?",
        "CC0",
        "scikit-image: CC0Textures, Lennart Demes",
        package="scikit-image",
        module="skimage",
        version="0.26.0",
        digest="3629a6203265e6335366f3d6a1e4b31c70b50695f8b72e11930b629dc238f719",
    ),
    "wine": SampleFacts(
        178,
        "cultivar",
        "wines of one region: thirteen chemical measures; which of three cultivars is it?",
        UCI,
        "scikit-learn: Aeberhard and Forina (1992)",
        digest="86d6406802806ec55d1a4b067d8c749d05a92a0f15ae11a6537cf877b4681e72",
    ),
    "breast_cancer": SampleFacts(
        569,
        "diagnosis",
        "thirty measures of cell nuclei in an image; is the tumour benign or malignant?",
        UCI,
        "scikit-learn: Wolberg, Mangasarian, Street and Street (1995)",
        digest="fefd0594fe431ad9205a996d0fb446ec2f093a41fbee00c6df7fcc29518b15c6",
    ),
    "diabetes": SampleFacts(
        442,
        "progression",
        "patients: age, sex, body mass, blood pressure and six serum measures; how far is the disease in a year?",
        "BSD-3-Clause, as part of scikit-learn; the authors state none",
        "scikit-learn: Efron, Hastie, Johnstone and Tibshirani (2004)",
        digest="861964c468642a32978c7053ff452a64b79977dba1d00c3d4349dbf4ef9d2090",
    ),
}
