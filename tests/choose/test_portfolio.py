"""The portfolio of a race, and comparing two fits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from thermocline.choose.paired import Gain, mean_loss
from thermocline.choose.portfolio import arms
from thermocline.config import preset_names, presets_folder, read_yaml, schema_of


def test_every_arm_has_a_source_and_changes_known_options() -> None:
    schema = schema_of()
    assert len(arms()) >= 7
    for arm in arms():
        assert len(arm.source) > 20, arm.name
        assert arm.lr_factor > 0
        assert arm.options.keys() <= schema.keys.keys()
        assert arm.needs in ("", "pretrained", "adapters")
        assert arm.options or arm.trains_last or (arm.lr_factor, arm.epochs_factor) != (1, 1)
    assert len({arm.name for arm in arms()}) == len(arms())


def test_the_portfolio_is_no_preset() -> None:
    assert (presets_folder() / "portfolio.yaml").is_file()
    assert "portfolio" not in preset_names()
    assert "auto" in preset_names()
    assert read_yaml(presets_folder() / "auto.yaml", "auto")["optim"] == {"arms": 8}


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10)), min_size=2, max_size=40))
def test_a_gain_turns_around(pairs: list[tuple[float, float]]) -> None:
    one, two = np.array(pairs).T
    gain, loss = Gain.of(one, two), Gain.of(two, one)
    assert gain.mean == pytest.approx(-loss.mean, abs=1e-12)
    assert gain.error == pytest.approx(loss.error, abs=1e-12)
    assert not (gain.is_clear and loss.is_clear)


def test_rows_without_outputs_are_left_out() -> None:
    nan = float("nan")
    gain = Gain.of(np.array([1.0, nan, 2.0, 1.0]), np.array([2.0, 5.0, 2.0, nan]))
    assert gain == Gain(0.5, 0.5)
    assert not gain.is_clear
    assert not Gain.of(np.array([nan]), np.array([1.0])).is_clear
    assert mean_loss(np.array([1.0, nan, 2.0])) == 1.5
    assert mean_loss(None) == mean_loss(np.array([nan])) == float("inf")
