"""`fit(…, resume=True)`: the same command again goes on where it was stopped, and refuses what is another run."""

import json

import pandas as pd
import pytest

from support.stopping import killed_before
from support.tiny import TINY, make_table, make_texts, told, write_images
from thermocline import Predictor
from thermocline.errors import ConfigError, OutputExistsError, ResumeError, ThermoclineWarning
from thermocline.training.checkpoint_content import Cadence
from thermocline.training.trainer import Trainer

OPTIONS = {**TINY, "optim.max_epochs": 3, "env.checkpoint_every": 1, "env.loggers": "csv"}


def job(path, frame=None, *, options=None, resume=True, **more):
    """The command that is run again."""
    frame = make_table(100) if frame is None else frame
    predictor = Predictor("y", path=path, verbosity=0)
    return predictor.fit(frame, hyperparameters={**OPTIONS, **(options or {})}, resume=resume, **more)


def stop_at(path, step, *args, **kwargs):
    """Have a fit die before a step."""
    with killed_before(step):
        job(path, *args, **kwargs)


def files(folder):
    """What is saved, times and identities aside."""
    found = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != "thermocline.json"}
    history = pd.DataFrame(json.loads(found.pop("history.json"))).drop(columns="seconds")
    return found | {"history": history.to_json()}


def test_the_same_command_again_ends_as_if_it_had_never_stopped(tmp_path):
    job(tmp_path / "whole", resume=False)
    stop_at(tmp_path / "run", 4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run-checkpoints", "run-logs", "whole", "whole-logs"]
    stop_at(tmp_path / "run", 11)
    job(tmp_path / "run")
    assert files(tmp_path / "run") == files(tmp_path / "whole")
    logs = [(tmp_path / f"{name}-logs" / "metrics.csv").read_text() for name in ("run", "whole")]
    assert logs[0] == logs[1]
    assert not (tmp_path / "run-checkpoints").exists()


def test_texts_and_images_too(tmp_path, text_folder, image_folder):
    frame = write_images(tmp_path / "p", 24)[["img"]].map(lambda name: str(tmp_path / "p" / name))
    frame = pd.concat([frame, make_texts(24)], axis=1)
    options = {
        "model.text.checkpoint": str(text_folder),
        "model.image.checkpoint": str(image_folder),
        "model.image.augment": "standard",
        "model.frozen_layers": "stem",
        "optim.optimizer": "sgd",
        "optim.schedule_plan": "fine_tune",
        "env.batch_size": 8,
    }
    job(tmp_path / "whole", frame, options=options, resume=False)
    stop_at(tmp_path / "run", 6, frame, options=options)
    job(tmp_path / "run", frame, options=options)
    assert files(tmp_path / "run") == files(tmp_path / "whole")


def test_without_a_checkpoint_it_starts(tmp_path):
    predictor = job(tmp_path / "run")
    assert predictor.history["step"].max() > 0


def test_a_run_that_ended_is_loaded(tmp_path, monkeypatch):
    first = job(tmp_path / "run")
    (tmp_path / "run-checkpoints" / "step-000000001").mkdir(parents=True)  # killed just before it was removed
    monkeypatch.setattr(Trainer, "fit", lambda self: pytest.fail("it was trained again"))
    again = job(tmp_path / "run")
    frame = make_table(30, seed=1)
    assert again.predict_proba(frame).equals(first.predict_proba(frame))
    assert again.history["seconds"].tolist() == first.history["seconds"].tolist()
    assert not (tmp_path / "run-checkpoints").exists()
    more = told(ResumeError, ValueError, lambda: job(tmp_path / "run", options={"optim.max_epochs": 9}))
    assert "The run that ended in" in more
    assert "optim.max_epochs: 3 then, 9 now" in more
    told(OutputExistsError, FileExistsError, lambda: job(tmp_path / "run", resume=False))


# what may change


def test_more_epochs_other_loggers_and_more_patience_go_on(tmp_path):
    stop_at(tmp_path / "run", 4)
    changed = {"optim.max_epochs": 4, "env.loggers": None, "optim.patience": 20, "env.num_workers": 1}
    history = job(tmp_path / "run", options=changed).history
    assert history["step"].max() == 20
    notes = history["note"][history["note"].str.startswith("resumed", na=False)].tolist()
    assert "resumed at step 3 with optim.max_epochs: 3 then, 4 now" in notes
    assert len(notes) == 4


CHANGES = {
    "an option": ({"options": {"optim.lr": 0.5}}, r"optim\.lr: 0\.001 then, 0\.5 now"),
    "the phases": (
        {"options": {"optim.schedule_plan": "lp_ft"}},
        r'optim\.schedule_plan: nothing then, "lp_ft" now',
    ),
    "frozen layers": ({"options": {"model.frozen_layers": "stem"}}, r'model\.frozen_layers: nothing then, "stem" now'),
    "a row": ({"frame": make_table(101)}, r'training rows: "80 rows \w+" then, "81 rows \w+" now'),
    "a cell": (
        {"frame": make_table(100).assign(x=lambda f: f["x"].where(f.index != 3, 9.0))},
        r'training rows: "80 rows \w+" then',
    ),
    "a label": ({"frame": make_table(100).replace({"y": {"no": "never"}})}, r'task: classes: \["no", "yes"\] then'),
    "a column": ({"frame": make_table(100).drop(columns="z")}, r'column .z.: "numeric" then, nothing now'),
    "the seed": ({"seed": 1}, r"seed: 0 then, 1 now"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_run_is_refused_with_what_differs(change, tmp_path):
    stop_at(tmp_path / "run", 3)
    arguments, expected = CHANGES[change]
    with pytest.raises(ResumeError, match=expected) as caught:
        job(tmp_path / "run", **arguments)
    assert "The checkpoint of step 2" in str(caught.value)
    assert "resume=False" in str(caught.value)
    assert len(str(caught.value).splitlines()) < 16


def test_an_edited_plan_is_another_run(tmp_path):
    frame = make_table(100)
    plan = Predictor("y", verbosity=0).explain(frame, hyperparameters=OPTIONS)
    stop_at(tmp_path / "run", 3, frame, plan=plan)
    with pytest.raises(ResumeError, match=r"plan: layers\.table/stem\.lr_scale: 1\.0 then, 0\.5 now"):
        job(tmp_path / "run", frame, plan=plan.edit("stem", lr_scale=0.5))
    job(tmp_path / "run", frame, plan=plan)


def test_starting_anew_says_what_is_replaced(tmp_path):
    stop_at(tmp_path / "run", 8)
    with pytest.warns(ThermoclineWarning, match=r"run-checkpoints.*resume=True would continue it"):
        job(tmp_path / "run", resume=False, options={"optim.lr": 0.01})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run", "run-logs"]


# where there are none


def test_no_path_no_checkpoints(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Predictor("y", verbosity=0).fit(make_table(60), hyperparameters={**TINY, "env.checkpoint_every": 1})
    assert list(tmp_path.iterdir()) == []
    fit = lambda: job(None, options={"env.loggers": None})  # noqa: E731
    assert "path" in told(ConfigError, ValueError, fit)
    off = lambda: job(tmp_path / "a", options={"env.checkpoint_every": 0})  # noqa: E731
    assert "env.checkpoint_every above 0" in told(ConfigError, ValueError, off)


def test_a_short_fit_writes_none(tmp_path, monkeypatch):
    from thermocline.training.checkpoint_store import CheckpointStore

    monkeypatch.setattr(CheckpointStore, "write", lambda *_: pytest.fail("a checkpoint"))
    job(tmp_path / "run", options={"env.checkpoint_every": None})
    job(tmp_path / "off", options={"env.checkpoint_every": 0}, resume=False)


def test_as_often_as_costs_little(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    cadence = Cadence(None)
    due = []
    for second in range(400):
        clock[0] = float(second)
        if cadence.due(second):
            due.append(second)
            cadence.wrote(3.0)
    assert due == [15, 115, 215, 315]
    assert [step for step in range(12) if Cadence(4).due(step)] == [0, 4, 8]
    assert not Cadence(0).due(8)
