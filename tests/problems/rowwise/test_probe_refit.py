"""A probe that is kept is fitted again, to the validation rows as well, and judged by one that has not seen them."""

from dataclasses import replace

import numpy as np
import pytest

from support.assemblies import prepared_and_assembled
from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.contracts.closing import Closing
from thermocline.pipeline.assemble import rows_of
from thermocline.problems.rowwise.probe import start_of
from thermocline.problems.rowwise.probe_refit import refit_probe
from thermocline.problems.rowwise.probe_solvers import unlimited

FAST = {**TINY, "optim.max_epochs": 1}


def collected(rows):
    """What a pass gives: features, of the columns that a probe may use."""

    def collect(split, compute, wanted):
        return compute(rows[split].batch(wanted)).detach().numpy(), np.ones(len(wanted), dtype=bool)

    return collect


def closing_of(assembly, train, valid, left=1e9, **more):
    rows = {"train": train, "valid": valid}
    given = {"scores": {}, "valid_outputs": None, "at_start": True, "collect": collected(rows)}
    return Closing(
        rows=rows, seconds_left=lambda: left, seed=0, train_on_all=lambda _epochs: False, **{**given, **more}
    )


def prepared(options=FAST):
    found, assembly = prepared_and_assembled(make_table(80), options, tuning_data=make_table(40, seed=1))
    return assembly, *rows_of(found, assembly)


def outputs_of(assembly, rows):
    return assembly.model.eval()(rows.batch(np.arange(len(rows)))).detach().numpy()


def test_the_head_sees_all_rows_and_the_outputs_those_of_training():
    assembly, train, valid = prepared()
    found = refit_probe(assembly, closing_of(assembly, train, valid))
    assert found.note.startswith(
        "probe fitted again, on training and validation data, 120 rows: logistic regression, C="
    )
    whole = outputs_of(assembly, valid)
    start = start_of(assembly, train, seed=0)
    features = collected({"train": train})("train", start.features, start.rows)[0]
    alone = start.fit(features, train.target, None, unlimited, to_tune=False)
    expected = start.features(valid.batch(np.arange(len(valid)))).detach().numpy() @ alone.weight.T + alone.bias
    np.testing.assert_allclose(found.valid_outputs, expected, atol=1e-4)
    assert np.abs(whole - found.valid_outputs).max() > 1e-3


def test_row_weights_of_one_part_count_and_rows_of_weight_0_do_not():
    assembly, train, valid = prepared()
    weight = np.linspace(0.1, 3, 80).astype(np.float32)
    of_valid = np.where(np.arange(40) % 4, 1, 0).astype(np.float32)
    weighted, zeros = replace(train, weight=weight), replace(valid, weight=of_valid)
    notes, heads = [], []
    for one, other in ((train, valid), (weighted, valid), (train, zeros)):
        notes.append(refit_probe(assembly, closing_of(assembly, one, other)).note)
        heads.append(assembly.model.head.weight.clone())
    assert [note.split("data, ")[1].split(":")[0] for note in notes] == ["120 rows", "120 rows", "110 rows"]
    assert not (heads[0] == heads[1]).all()


def test_nothing_is_fitted_again_where_both_parts_are_more_rows_than_a_probe_takes():
    assembly, train, valid = prepared({**FAST, "env.cache_memory": 1e-6})  # 100 rows
    assert refit_probe(assembly, closing_of(assembly, train, valid)) is None


@pytest.mark.parametrize(
    ("options", "change"),
    [(FAST, {"at_start": False}), (FAST, {"left": 0.0}), ({**FAST, "optim.refit": "off"}, {})],
)
def test_nothing_is_fitted_again_where_it_is_off_or_no_probe_or_no_time_is_left(options, change):
    assembly, train, valid = prepared(options)
    before = assembly.model.head.weight.clone()
    assert refit_probe(assembly, closing_of(assembly, train, valid, **change)) is None
    assert (assembly.model.head.weight == before).all()


def test_a_random_head_is_no_probe():
    assembly, train, valid = prepared({**FAST, "optim.head_init": "random"})
    assert refit_probe(assembly, closing_of(assembly, train, valid)) is None


def test_a_fit_that_keeps_its_probe_says_so_and_predicts_with_it():
    frame = make_table(80)
    options = {**FAST, "optim.lr": 3.0, "optim.warmup": 0.0}  # tuning ruins it
    predictor = Predictor("y", verbosity=0).fit(frame, hyperparameters=options)
    notes = predictor.history["note"].tolist()
    assert notes[-1].startswith("kept: step 0, the probe: tuning validated worse")
    assert any(note.startswith("probe fitted again, on training and validation data, 80 rows") for note in notes)
    again = Predictor("y", verbosity=0).fit(frame, hyperparameters=options)
    assert again.predict_proba(frame).equals(predictor.predict_proba(frame))
