"""A kind of problem that derives from `Problem` itself: counts with a Poisson loss (docs/how-to/own_problem.md)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
from torch.nn import functional as F

from thermocline.contracts.collecting import ArrayCollector
from thermocline.contracts.inputs import RowSource
from thermocline.contracts.learning import Learning, Objective
from thermocline.contracts.problem import Built, Problem
from thermocline.data.batches import Rows
from thermocline.errors import LabelError
from thermocline.inputs.building import build_inputs, check_inputs, describe_inputs, rebuild_inputs
from thermocline.inputs.labelled_frames import feature_columns, read_rows
from thermocline.problems.rowwise.defaults import choose_defaults
from thermocline.problems.rowwise.model import FusionModel, layers_of
from thermocline.registry import ProblemInfo
from thermocline.registry.metrics import MetricInfo


@dataclass(frozen=True)
class CountTarget:
    label: str
    eval_metric: str = "deviance"
    reason: str = "counts"
    problem_type = "counts"

    @property
    def labels(self):
        return (self.label,)

    def to_dict(self):
        return {**asdict(self), "problem_type": self.problem_type}


class CountCollector(ArrayCollector):
    """Outputs are logarithms of the rates; the score is the mean Poisson deviance."""

    def __init__(self, model, rows):
        super().__init__(model, len(rows), width=1)
        self.rows = rows

    def scores(self, metrics):
        known = self.reached
        rate, count = np.exp(self.values[known, 0]), self.rows.target[known]
        log = np.log(np.maximum(count, 1) / rate)
        deviance = 2 * (count * log - count + rate).mean()
        return {"deviance": float(deviance)}


class Counts(Problem):
    info = ProblemInfo(
        name="counts",
        implementation="",
        problem_types=("counts",),
        metrics=(MetricInfo("deviance", False, ("counts",)),),
        default_metric={"counts": "deviance"},
        usual_metrics={"counts": ()},
        inputs=("text", "table"),
        reads=frozenset({"model.fusion.*"}),
    )

    def read(self, data, reading):
        found = read_rows(data, reading)
        if reading.purpose != "predict":
            counts = pd.to_numeric(found.frame[reading.request.label], errors="coerce")
            wrong = found.frame.index[~(counts >= 0) | (counts % 1 != 0)]
            if len(wrong):
                raise LabelError(f"{reading.what}: rows {list(wrong[:3])} hold no counts.")
        return found

    def find_columns(self, found, request):
        return feature_columns(found, request)

    def check(self, columns, config):
        check_inputs(columns, config)

    def find_target(self, found, request):
        return CountTarget(request.label)

    def build(self, train, columns, target, config, *, seed):
        source = RowSource(train.frame, train.folder, training=True, seed=seed)
        inputs = build_inputs(source, columns, config)
        model = self.model(inputs, config)
        config = choose_defaults(inputs[-1].config, model, target, len(train))
        by_tower = {one.kind.info.name: one for one in inputs}
        return Built(model, by_tower, layers_of(model, inputs, {}), config)

    def model(self, inputs, config):
        towers = {one.kind.info.name: one.tower for one in inputs}
        fusion = config.model.fusion
        return FusionModel(towers, 1, width=fusion.width, dropout=fusion.dropout)

    def rows(self, found, assembly, *, labelled, training=False, seed=0):
        source = RowSource(found.frame, found.folder, training=training, seed=seed)
        inputs = assembly.built.inputs.items()
        rows = Rows({name: one.with_config(assembly.config).rows(source) for name, one in inputs})
        if not labelled:
            return rows
        counts = found.frame[assembly.target.label].to_numpy(np.float32)
        return replace(rows, target=counts)

    def learning(self, assembly, train, *, seed):
        def total(outputs, batch):
            return F.poisson_nll_loss(outputs[:, 0], batch["target"], reduction="sum")

        return Learning(Objective(total, lambda batch: float(len(batch["rows"]))))

    def collector(self, assembly, rows, found, *, scoring, **options):
        return CountCollector(assembly.model, rows)

    def predictions(self, outputs, target, index):
        return pd.Series(np.exp(outputs[:, 0]), index=index, name=target.label)

    def describe(self, assembly, folder):
        return describe_inputs(assembly.built.inputs.values(), folder)

    def read_target(self, described):
        return CountTarget(described["label"], described["eval_metric"], described["reason"])

    def rebuild(self, described, folder, target, config, *, trust_remote_code):
        inputs = rebuild_inputs(described, folder, config, trust_remote_code=trust_remote_code)
        return self.model(inputs, config), {one.kind.info.name: one for one in inputs}


def visits(rows: int = 120) -> pd.DataFrame:
    """Counts that follow `x`."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 2))
    frame = pd.DataFrame(x, columns=["x", "z"])
    frame["visits"] = rng.poisson(np.exp(0.5 + 0.8 * x[:, 0]))
    return frame
