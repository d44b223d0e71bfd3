"""A fit opens with a summary and ends with one; `fit_summary` returns the end, after `load` too."""

from __future__ import annotations

import io
import json
import sys

import pytest

from support.tiny import TINY, make_table
from thermocline import CSV, Callback, Predictor, RunInfo
from thermocline.errors import ConfigError

ONCE = {**TINY, "optim.max_epochs": 1}


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Seen(Callback):
    """Keeps how a state prints."""

    def on_fit_end(self, state):
        self.text = repr(state)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A predictor, what its fit printed to a terminal of 80 columns, and its callback."""
    path, out, seen = tmp_path_factory.mktemp("summary") / "model", Terminal(), Seen()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", out)
        patch.setenv("COLUMNS", "80")
        patch.setenv("TERM", "xterm")
        patch.delenv("NO_COLOR", raising=False)
        predictor = Predictor("y", eval_metric="accuracy", path=path)
        predictor.fit(make_table(60), hyperparameters=ONCE, callbacks=[seen])
    return predictor, out.getvalue(), seen


def test_it_opens_with_at_most_twenty_lines_and_headings(run):
    _, said, _ = run
    opening = said.partition("epoch 0.00")[0]
    assert len(opening.splitlines()) <= 20
    assert opening.startswith("\x1b[1mbinary on 'y', validated by accuracy\x1b[0m\n")
    for heading in ("Data", "Label", "Model", "Plan", "Cost", "Options", "Saved", "Notes"):
        assert f"\n\x1b[1m{heading}" in opening
    assert "48 rows to train on, 12 to validate on" in opening
    assert "optim.max_epochs=1" in opening
    plain = opening.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert max(map(len, plain.splitlines())) <= 80


def test_it_ends_with_what_was_kept_and_what_is_next(run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    predictor, said, _ = run
    assert said.endswith(predictor.fit_summary().headed().in_colours() + "\n")
    text = str(predictor.fit_summary())
    assert "\x1b" not in text
    assert [line.split()[0] for line in text.splitlines() if line[0] != " "] == [
        "Kept",
        "Score",
        "Time",
        "Saved",
        "Next",
    ]
    assert "predictor.predict(new_rows), .evaluate(test_rows), .report(test_rows)" in text


def test_scores_are_those_of_the_history_and_of_the_majority(run):
    predictor, _, _ = run
    found = predictor.fit_summary()
    assert found.score == predictor.history.kept_scores["accuracy"]
    majority = found.compared[-1]
    assert majority.name == "the majority class"
    assert majority.gain == pytest.approx(found.score - majority.score)
    assert {"reading", "building", "training", "validation", "probe", "end", "saving"} <= set(found.seconds)
    assert all(value >= 0 for value in found.seconds.values())
    assert json.loads(json.dumps(found.to_dict()))["valid_rows"] == 12
    assert "majority class" in found._repr_html_()


def test_a_loaded_predictor_knows_all_but_the_times(run):
    predictor, _, _ = run
    before, after = predictor.fit_summary(), Predictor.load(predictor.path).fit_summary()
    assert after.to_dict() == {**before.to_dict(), "seconds": {}}
    assert "Time" not in str(after)
    saved = "".join(file.read_text(encoding="utf-8") for file in predictor.path.glob("*.json"))
    assert "building" not in saved  # what is saved is the same bits for the same fit
    assert "loading libraries" not in saved


def test_what_a_user_can_get_prints_in_few_lines(run):
    predictor, _, seen = run
    plan = predictor.plan
    one_line = [predictor, plan.layers[0], plan.layer_map.layers[0], plan.phases[0], plan.start(4), predictor.config]
    one_line += [predictor.columns["x"], seen, CSV("a.csv"), RunInfo({"a": 1})]
    for found in one_line:
        assert "\n" not in repr(found)
        assert len(repr(found)) < 160
        assert " object at 0x" not in repr(found)
    for found in (plan, plan.layer_map, predictor.columns, predictor.history, predictor.fit_summary()):
        assert repr(found) == str(found)
        assert len(repr(found).splitlines()) <= 20
        assert "=(" not in repr(found)
    assert seen.text.startswith("FitState(step 3 of 3")
    assert "..." not in repr(predictor.history)


@pytest.mark.parametrize(
    ("verbosity", "there", "not_there"),
    [(0, "", "epoch"), (1, "Options", "optim.lr_decay "), (2, "optim.lr_decay ", "Options")],
)
def test_verbosities(verbosity, there, not_there, capsys):
    predictor = Predictor("z", verbosity=verbosity).fit(make_table(40), hyperparameters=ONCE)
    said, wrong = capsys.readouterr()
    assert there in said
    assert not_there not in said
    assert wrong == ""
    assert bool(said) == bool(verbosity)
    assert "\x1b" not in said
    assert predictor.fit_summary().compared[-1].name == "the mean"
    assert predictor.fit_summary().saved_at is None


def test_more_than_two_is_an_error():
    with pytest.raises(ConfigError, match=r"verbosity is 0 .* not 3"):
        Predictor("y", verbosity=3)
