"""A fitted predictor as bytes in memory: the files that `save` writes, for pickles and copies of the caller's."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from thermocline.config import Needed
from thermocline.contracts.problem import Problem
from thermocline.pipeline import artifact
from thermocline.pipeline.fitted import Fitted
from thermocline.registry.metrics import Metric

FOLDER = "predictor"


@dataclass(frozen=True)
class Packed:
    """The files of a saved predictor.

    Attributes:
        files: Name → content.
        remote_code: Whether its fit let code of a text backbone run; it runs again where this is unpacked.
        objects: Option → the caller's own object that it is built with.
    """

    files: Mapping[str, bytes]
    remote_code: bool
    objects: Mapping[str, Needed] = field(default_factory=dict)

    @classmethod
    def of(cls, fitted: Fitted) -> Packed:
        """Return the files that `save` would write."""
        config = fitted.assembly.config
        with tempfile.TemporaryDirectory(prefix="thermocline-") as place:
            folder = Path(place) / FOLDER
            artifact.save(fitted, folder)
            found = sorted(path for path in folder.rglob("*") if path.is_file())
            files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
        code = any(value is True for key, value in config.items() if key.endswith(".trust_remote_code"))
        return cls(files, code, {path: one for path, one in config.objects.items() if isinstance(one, Needed)})

    def unpacked(self, problem: Problem | None = None, metric: Any = None) -> Fitted:
        """Return the predictor, on the CPU.

        Args:
            problem: The caller's own kind of problem, where it is of one.
            metric: The metric that its fit was given, whose function no file holds; or its name.

        Raises:
            ArtifactError: The files are of a newer version.
        """
        with tempfile.TemporaryDirectory(prefix="thermocline-") as place:
            folder = Path(place) / FOLDER
            for name, content in self.files.items():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
            fitted = artifact.load(folder, artifact.Trust(problem, self.remote_code, self.objects))
        target = fitted.assembly.target
        held = getattr(target, "metric", None)
        if held is None or not isinstance(metric, Metric) or metric.name != held.name:
            return fitted
        return replace(fitted, assembly=replace(fitted.assembly, target=replace(target, metric=metric)))
