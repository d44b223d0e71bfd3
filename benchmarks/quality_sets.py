"""The data sets of `quality.py`: real ones, made-up mixes of them, and samples of their training rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.model_selection import train_test_split

REGRESSION = {"r2": "regression", "spearman": "regression"}
SIZES = ("300", "1500", "all")
ROWS_OF_THREE_SEEDS = 1500  # at most so many rows are fitted with three seeds, more with one


@dataclass(frozen=True)
class Case:
    """A data set with a label and a metric.

    Attributes:
        folder: Of the data set, within the data folder.
        name: Of the case.
        numbers, categories, dates, texts, images: The columns that the baselines use, by kind; ours infers its own.
        pair: Whether the two texts are a pair to compare.
        drop: Columns of the file that are left out.
        sizes: Of `SIZES`, those that count.
        asked: The score that is asked for, by size.
        change: Makes the mix out of the frame and a folder for files.
    """

    folder: str
    name: str
    label: str
    metric: str
    numbers: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    dates: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    images: tuple[str, ...] = ()
    pair: bool = False
    drop: tuple[str, ...] = ()
    positive: str | None = None
    sizes: tuple[str, ...] = SIZES
    asked: dict[str, float] = field(default_factory=dict)
    change: Callable[[pd.DataFrame, Path], pd.DataFrame] | None = None

    @property
    def regression(self) -> bool:
        return self.metric in REGRESSION

    @property
    def table(self) -> tuple[str, ...]:
        return self.numbers + self.categories + self.dates


@dataclass(frozen=True)
class Loaded:
    """A case's rows: the training rows first, then the test rows; `train` of them are training rows."""

    case: Case
    frame: pd.DataFrame
    train: int
    image_folder: Path | None

    @property
    def labels(self) -> np.ndarray:
        """The labels as text, or as numbers."""
        column = self.frame[self.case.label]
        return column.to_numpy(dtype=float) if self.case.regression else column.astype(str).to_numpy(dtype=str)

    @property
    def classes(self) -> list[str]:
        return [] if self.case.regression else sorted(set(self.labels))

    @property
    def test(self) -> np.ndarray:
        return np.arange(self.train, len(self.frame))

    def sampled(self, rows: str, seed: int) -> np.ndarray:
        """Return positions of the training rows of a size and seed, classes in proportion."""
        everything = np.arange(self.train)
        if rows == "all":
            return everything
        labels = None if self.case.regression else self.labels[: self.train]
        chosen, _ = train_test_split(everything, train_size=int(rows), random_state=seed, stratify=labels)
        return np.asarray(chosen)

    def options(self, data: Path) -> dict[str, Any]:
        """Return the options that fits of the case need: of images, the weights below the data folder."""
        if not self.case.images:
            return {}
        return {
            "model.image.checkpoint": str(data / "weights" / "timm_mobilenetv2_100"),
            "model.image.pretrained": True,
            "data.image_folder": str(self.image_folder),
        }

    def sizes(self, wanted: tuple[str, ...]) -> list[str]:
        """Return the sizes that the case has: `all`, and those below it."""
        return [one for one in self.case.sizes if one in wanted and (one == "all" or int(one) < self.train)]

    def seeds(self, rows: str, wanted: list[int] | None) -> list[int]:
        """Return the seeds of a size."""
        if wanted is not None:
            return wanted
        return [0, 1, 2] if rows != "all" or self.train <= ROWS_OF_THREE_SEEDS else [0]


def load(case: Case, data: Path, made: Path) -> Loaded:
    """Read a case; what a mix needs as files is written under `made`."""
    folder = data / case.folder
    train, test = (pd.read_csv(folder / f"{part}.csv") for part in ("train", "test"))
    frame = pd.concat([train, test], ignore_index=True).drop(columns=list(case.drop))
    image_folder = folder if case.images else None
    if case.change is not None:
        frame = case.change(frame, made / case.name)
        image_folder = made / case.name if (made / case.name).is_dir() else image_folder
    return Loaded(case, frame, len(train), image_folder)


def _noise_images(frame: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Add a column of images of noise, 64 × 64."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = np.random.default_rng(0)
    names = [f"{i}.png" for i in range(len(frame))]
    for name in names:
        pixels = numbers.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        if not (folder / name).is_file():
            Image.fromarray(pixels).save(folder / name)
    return frame.assign(picture=names)


def _match(frame: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Turn the similarity of two sentences into whether they are alike."""
    del folder
    alike = np.where(frame["score"] >= 3.5, "yes", "no")
    return frame.drop(columns="score").assign(alike=alike)


_ADULT = Case(
    "tab_adult",
    "tab_adult",
    "income",
    "roc_auc",
    numbers=("age", "fnlwgt", "education_num", "capital_gain", "capital_loss", "hours_per_week"),
    categories=(
        "workclass",
        "education",
        "marital_status",
        "occupation",
        "relationship",
        "race",
        "sex",
        "native_country",
    ),
    asked={"all": 0.920},
)
_PENGUINS = Case(
    "tab_penguins",
    "tab_penguins",
    "species",
    "accuracy",
    numbers=("bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"),
    categories=("island", "sex"),
    asked={"all": 0.98},
)
_TITANIC = Case(
    "tab_titanic",
    "tab_titanic",
    "Survived",
    "roc_auc",
    numbers=("Pclass", "Age", "SibSp", "Parch", "Fare"),
    categories=("Sex", "Embarked", "Cabin", "Ticket"),
    texts=("Name",),
)
_SALARIES = Case(
    "tabtext_employee_salaries",
    "tabtext_employee_salaries",
    "current_annual_salary",
    "r2",
    numbers=("year_first_hired",),
    categories=("gender", "department", "assignment_category"),
    dates=("date_first_hired",),
    texts=("division", "employee_position_title"),
    asked={"all": 0.93},
)
_STSB = Case(
    "textpair_stsb",
    "textpair_stsb",
    "score",
    "spearman",
    texts=("sentence1", "sentence2"),
    pair=True,
    asked={"all": 0.845},
)
_EMOJI = Case(
    "mm_emoji",
    "mm_emoji",
    "category",
    "accuracy",
    numbers=("n_code_points",),
    texts=("name", "keywords"),
    images=("image",),
    asked={"all": 0.96},
)

CASES = (
    _PENGUINS,
    replace(_PENGUINS, name="penguins_noise_images", images=("picture",), change=_noise_images),
    _TITANIC,
    replace(  # the whole file has names as text beside the table already; this is the table alone
        _TITANIC,
        name="titanic_table",
        categories=("Sex", "Embarked"),
        texts=(),
        drop=("PassengerId", "Name", "Ticket", "Cabin"),
    ),
    _ADULT,
    _EMOJI,
    replace(_EMOJI, name="emoji_image_name", numbers=(), texts=("name",), drop=("keywords", "n_code_points"), asked={}),
    Case("img_cifar10_3k", "img_cifar10_3k", "label", "accuracy", images=("image",), asked={"all": 0.77}),
    Case("text_sms_spam", "text_sms_spam", "label", "f1", texts=("text",), positive="spam"),
    Case("text_sst2", "text_sst2", "label", "accuracy", texts=("text",), asked={"all": 0.89}),
    Case(
        "text_banking77",
        "text_banking77",
        "label",
        "accuracy",
        texts=("text",),
        asked={"1500": 0.88, "all": 0.93},
    ),
    _SALARIES,
    _STSB,
    replace(_STSB, name="stsb_match", label="alike", metric="roc_auc", change=_match, positive="yes", sizes=SIZES[:2]),
)
