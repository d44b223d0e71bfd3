"""What an export has written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from thermocline.report.frames import html_frame
from thermocline.report.tables import html_block, html_lines, html_table

KB, MB = 1e3, 1e6


@dataclass(frozen=True)
class Exported:
    """What an export has written.

    Attributes:
        path: The folder.
        format: `onnx`, `torch_export`, `transformers` or `timm`.
        files: Name of a file below the folder → its bytes, the largest first.
        use: How it is loaded, in one line.
        scores: Scores of the data that were given, a row a metric: of the predictor (`before`), of the export
            (`after`), and their `change`; None where none were.

    Example:
        >>> exported = predictor.export("backbone", "transformers")
        >>> exported.format, "model.safetensors" in exported.files
        ('transformers', True)
        >>> print(exported)
        transformers in 'backbone': transformers.AutoModel.from_pretrained('backbone')
        ...
    """

    path: Path
    format: str
    files: Mapping[str, int]
    use: str
    scores: pd.DataFrame | None = None

    def __str__(self) -> str:
        width = max(len(name) for name in self.files)
        lines = [f"{self.format} in {str(self.path)!r}: {self.use}"]
        lines += [f"  {name:<{width}}  {_size(size):>9}" for name, size in self.files.items()]
        if self.scores is not None:
            lines += self.scores.to_string(float_format=lambda number: f"{number:.4g}").splitlines()
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        files = [[name, _size(size)] for name, size in self.files.items()]
        headline = html_lines([f"{self.format} in {str(self.path)!r}: {self.use}"], strong=True)
        scores = "" if self.scores is None else html_frame(self.scores.reset_index(names="metric"))
        return html_block(headline, html_table(files, ["file", "size"], right=[1])) + scores


def _size(size: int) -> str:
    return f"{size / MB:,.1f} MB" if size >= MB else f"{size / KB:,.1f} kB"
