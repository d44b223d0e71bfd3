"""Loggers that send numbers to an experiment tracker: MLflow and Weights & Biases."""

from __future__ import annotations

import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from thermocline.training.loggers import Logger, RunInfo, check_installed

MOST_METRICS = 1000  # that MLflow takes at once
MOST_PARAMS = 100


class _Tracker(Logger):
    """A logger to a run that a service or a file keeps, in which a resumed fit goes on.

    Attributes:
        run_id: The id of the last run; None before the first.
    """

    run_id: str | None = None
    _going_on: str | None = None  # the id of the run of the checkpoint that is resumed

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {'no run yet' if self.run_id is None else f'run {self.run_id}'}>"

    def state_dict(self) -> dict[str, Any]:
        """Return the id of the run."""
        return {"run_id": self.run_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on in that run."""
        self._going_on = state.get("run_id")


class MLflow(_Tracker):
    """Logs to a run of MLflow (extra `mlflow`), the options of the fit as its parameters.

    Where a run is active (`mlflow.start_run()`), numbers go there and it stays open; in a search each trial is a run
    below it. Otherwise a run is made. A resumed fit goes on in the run of its checkpoint; MLflow keeps both values of a
    step that was logged twice. A fit that ends by an error ends the run as `FAILED`. The base rate `lr` has the name
    `lr/base` here: MLflow's stores take no name that others begin with, as of folders.

    Args:
        experiment: Name of the experiment, made where there is none. By default MLflow's own choice:
            `MLFLOW_EXPERIMENT_NAME`, else `Default`.
        run_name: Name of the run; by default the name of the predictor's folder.
        tracking_uri: Where MLflow stores runs, such as `http://localhost:5000` or `sqlite:///runs.db`. By default what
            `mlflow.set_tracking_uri` or `MLFLOW_TRACKING_URI` says; else the file `mlflow.db` in the folder
            `<path>-logs` beside the predictor (in a search one for each trial), or MLflow's own default where that
            has no path.

    Attributes:
        run_id: The id of the last run; None before the first.

    Raises:
        MissingDependencyError: mlflow is not installed.

    Example:
        >>> MLflow("titles", tracking_uri="http://localhost:5000").experiment  # fit(loggers=[MLflow(…)])
        'titles'
    """

    def __init__(
        self, experiment: str | None = None, *, run_name: str | None = None, tracking_uri: str | None = None
    ) -> None:
        check_installed("mlflow", "MLflow", "mlflow")
        self.experiment, self.run_name, self.tracking_uri = experiment, run_name, tracking_uri
        self._client: Any = None
        self._own = True  # whether the run is of this fit, and ends with it

    def begin(self, run: RunInfo) -> None:
        """Make a run, or go on in one."""
        with _quiet():
            mlflow = _mlflow()
            uri = self.tracking_uri or _default_uri(mlflow, run)
            self._client = mlflow.MlflowClient(tracking_uri=uri)
            active: Any = None if self.tracking_uri or self.experiment else mlflow.active_run()
            going_on, self._going_on = self._going_on, None
            self._own = active is None or bool(run.trial)
            if not self._own:
                self.run_id = active.info.run_id
            elif going_on:
                self.run_id = going_on
                self._client.update_run(going_on, status="RUNNING")
            else:
                self.run_id = self._made(run, active)
            if going_on is None:  # MLflow refuses another value of a parameter
                self._log_options(run.options)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send the values of a step."""
        with _quiet():
            from mlflow.entities import Metric

            now = time.time_ns() // 1_000_000
            metrics = [Metric(_name(name), float(value), now, step) for name, value in values.items()]
            for start in range(0, len(metrics), MOST_METRICS):
                self._client.log_batch(self.run_id, metrics=metrics[start : start + MOST_METRICS])

    def close(self, *, failed: bool = False) -> None:
        """End the run, if it is of this fit."""
        if self._own and self.run_id is not None and self._client is not None:
            with _quiet():
                self._client.set_terminated(self.run_id, "FAILED" if failed else "FINISHED")

    def _made(self, run: RunInfo, active: Any) -> str:
        tags = {} if active is None else {"mlflow.parentRunId": active.info.run_id}
        name = _name_of(self.run_name, run)
        place = self._experiment_id() if active is None else active.info.experiment_id
        made: str = self._client.create_run(place, run_name=name, tags=tags).info.run_id
        return made

    def _experiment_id(self) -> str:
        name = self.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or "Default"
        found = self._client.get_experiment_by_name(name)
        return str(self._client.create_experiment(name) if found is None else found.experiment_id)

    def _log_options(self, options: Mapping[str, Any]) -> None:
        from mlflow.entities import Param

        longest = 500  # of a value that every store takes
        params = [Param(_name(name), str(value)[:longest]) for name, value in options.items()]
        for start in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self.run_id, params=params[start : start + MOST_PARAMS])


class WandB(_Tracker):
    """Logs to a run of Weights & Biases (extra `wandb`), the options of the fit as its configuration.

    A resumed fit goes on in the run of its checkpoint. A service that is online leaves out what was logged before.

    Args:
        project: Name of the project.
        name: Name of the run; by default the name of the predictor's folder.
        mode: `online`, `offline` (files that `wandb sync` sends later) or `disabled`; by default `WANDB_MODE`, else
            online.
        folder: Where W&B keeps its files; by default the folder `<path>-logs` beside the predictor, or W&B's own
            default where that has no path.
        **more: Other arguments of `wandb.init`, such as `entity`, `group` or `tags`.

    Attributes:
        run_id: The id of the last run; None before the first.

    Raises:
        MissingDependencyError: wandb is not installed.

    Example:
        >>> WandB("titles", mode="offline").project  # fit(loggers=[WandB(…)])
        'titles'
    """

    def __init__(
        self,
        project: str = "thermocline",
        *,
        name: str | None = None,
        mode: str | None = None,
        folder: str | os.PathLike[str] | None = None,
        **more: Any,
    ) -> None:
        check_installed("wandb", "WandB", "wandb")
        self.project, self.name, self.mode, self.more = project, name, mode, more
        self.folder = None if folder is None else Path(folder).expanduser()
        self._run: Any = None

    def begin(self, run: RunInfo) -> None:
        """Make a run, or go on in one."""
        with _quiet():
            import wandb

            folder, going_on = self.folder or run.folder, self._going_on
            self._going_on = None
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
            how: dict[str, Any] = {"id": going_on, "resume": "allow"} if going_on else {}
            how |= {"name": _name_of(self.name, run)}
            settings = {"console": "off", "silent": run.verbosity == 0}
            how |= {"dir": folder, "mode": self.mode, "reinit": "create_new", "settings": settings}
            self._run = wandb.init(project=self.project, **{**how, **self.more})
            self._run.config.update({name: _plain(value) for name, value in run.options.items()}, allow_val_change=True)
            self.run_id = self._run.id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Send the values of a step."""
        self._run.log(dict(values), step=step)

    def close(self, *, failed: bool = False) -> None:
        """Finish the run."""
        if self._run is not None:
            self._run.finish(exit_code=int(failed))
            self._run = None


def _name_of(given: str | None, run: RunInfo) -> str | None:
    """Return the name of a run: the one given, or that of the predictor's folder, with the trial of a search."""
    return "-".join(part for part in (given or run.name, run.trial) if part) or None


def _mlflow() -> Any:
    """Import mlflow; where this is what imports it first, it sends no usage data of its own."""
    kept = os.environ.get("MLFLOW_DISABLE_TELEMETRY")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        import mlflow
    finally:
        if kept is None:
            os.environ.pop("MLFLOW_DISABLE_TELEMETRY", None)
    return mlflow


def _default_uri(mlflow: Any, run: RunInfo) -> str | None:
    if run.folder is None or mlflow.is_tracking_uri_set():
        return None
    run.folder.mkdir(parents=True, exist_ok=True)
    return f"sqlite:///{run.folder.absolute() / 'mlflow.db'}"


def _name(name: str) -> str:
    """Return a name as MLflow takes it: letters, digits and `_-./: `; none that others begin with, as of folders."""
    return re.sub(r"[^\w\-./: ]", "_", "lr/base" if name == "lr" else name)


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what a tracker's own libraries say of their deprecated parts to itself."""
    with warnings.catch_warnings():
        for kind in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", kind)
        yield
