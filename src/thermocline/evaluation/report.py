"""A report on labelled rows, as text, HTML, pictures and plain data."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from thermocline.errors import ConfigError, OutputWriteError, first_line
from thermocline.evaluation.content import Content
from thermocline.report.plain import plain
from thermocline.report.sections import Section

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class EvaluationReport(Content):
    """What a predictor does on labelled rows: `predictor.report(test)`.

    It shows as text (`print`), in a notebook with tables and pictures, and is saved as one HTML file.

    Attributes:
        problem_type: The problem type.
        label: The label, several joined by commas.
        rows: How many rows were scored.
        unit: What a row is: `row`, `image`.
        scores: The metric of validation first.
        sections: Tables and pictures (`thermocline.report.sections`), which differ between kinds of problem.
        baseline: What the baseline answers, in words; empty where there is none.
        draws: How often rows were drawn again for the intervals; 0: there are none.
        notes: What a reader should know.

    Example:
        >>> from thermocline.evaluation.content import Score
        >>> report = EvaluationReport("regression", "price", 200, scores=(Score("rmse", 1.5, 1.2, 1.9),))
        >>> print(report)
        Report on 200 rows: regression of 'price'
        <BLANKLINE>
        metric  score   95 % interval
        rmse    1.500  1.200 to 1.900
    """

    def __str__(self) -> str:
        from thermocline.evaluation.as_text import report_text

        return report_text(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        from thermocline.evaluation.as_html import report_html

        return report_html(self)

    def __getitem__(self, title: str) -> Section:
        """Return the section of a title.

        Raises:
            ConfigError: There is none.
        """
        found = {section.title: section for section in self.sections}
        if title not in found:
            raise ConfigError(f"This report has no section {title!r}. It has: {', '.join(map(repr, found)) or 'none'}.")
        return found[title]

    def plot(self) -> Figure:
        """Draw all pictures of the report into one figure, on a transparent background.

        Raises:
            ConfigError: The report of this problem has no pictures.

        Example:
            >>> predictor.report(test).plot().savefig("report.png")
        """
        from thermocline.evaluation.as_figure import whole_figure

        return whole_figure(self)

    def to_frame(self) -> pd.DataFrame:
        """Return a row for each metric.

        Returns:
            Columns `metric`, `score`, `low` and `high` (of the 95 % interval), `baseline`, `greater_is_better`, `note`;
            NaN where one is not known.

        Example:
            >>> from thermocline.evaluation.content import Score
            >>> made = EvaluationReport("regression", "price", 200, scores=(Score("rmse", 1.5, 1.2, 1.9),))
            >>> made.to_frame()[["metric", "score", "low", "high"]].values.tolist()
            [['rmse', 1.5, 1.2, 1.9]]
        """
        import pandas as pd

        columns = ["metric", "score", "low", "high", "baseline", "greater_is_better", "note"]
        values = [[s.name, s.value, s.low, s.high, s.baseline, s.greater_is_better, s.note] for s in self.scores]
        numbers = dict.fromkeys(("score", "low", "high", "baseline"), "float64")
        return pd.DataFrame(values, columns=columns).astype(numbers)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values that `json.dumps` takes; NaN is None.

        Returns:
            `problem_type`, `label`, `rows`, `unit`, `scores` (by metric), `baseline`, `draws`, `notes`, and `sections`:
            a list, each with its `kind` (`table`, `curve`, `matrix`, `bars`, `points`) and `title`.

        Example:
            >>> from thermocline.evaluation.content import Score
            >>> EvaluationReport("regression", "price", 200, scores=(Score("rmse", 1.5),)).to_dict()["scores"]["rmse"]
            {'value': 1.5, 'low': None, 'high': None, 'baseline': None, 'greater_is_better': None, 'note': ''}
        """
        scores = {one.name: {key: value for key, value in asdict(one).items() if key != "name"} for one in self.scores}
        sections = [{"kind": type(one).__name__.lower()} | asdict(one) for one in self.sections]
        names = ("problem_type", "label", "rows", "unit", "baseline", "draws", "notes")
        facts = {name: getattr(self, name) for name in names}
        made: dict[str, Any] = plain({**facts, "scores": scores, "sections": sections})
        return made

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the report as one HTML file that needs no other: pictures are in it, and light and dark are its own.

        Args:
            path: The file, ending in `.html`; one that is there is replaced.

        Returns:
            The path.

        Raises:
            ConfigError: The path does not end in `.html`, is a folder, or lies in one that is not there.
            OutputWriteError: It cannot be written.

        Example:
            >>> predictor.report(test).save("report.html").name
            'report.html'
        """
        from thermocline.evaluation.as_html import report_page

        file = html_path(path)
        try:
            file.write_text(report_page(self), encoding="utf-8")
        except OSError as error:
            raise OutputWriteError(f"The report cannot be written to {str(file)!r}: {first_line(error)}.") from error
        return file


def html_path(path: str | os.PathLike[str]) -> Path:
    """Return the path of an HTML file that can be written, `~` expanded.

    Raises:
        ConfigError: It cannot.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ConfigError(f"path is where the report is written, such as 'report.html', not {path!r}.")
    file = Path(path).expanduser()
    if file.suffix.lower() not in (".html", ".htm"):
        raise ConfigError(f"A report is saved as HTML: {str(file)!r} has to end in .html.")
    if file.is_dir() or not file.absolute().parent.is_dir():
        raise ConfigError(f"{str(file)!r} cannot be written: it is a folder, or lies in one that is not there.")
    return file
