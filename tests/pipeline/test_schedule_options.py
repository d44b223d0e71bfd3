"""`optim.lr_schedule`, its arguments and `optim.warmup`: in one phase, in phases of one's own, in named schedules."""

from __future__ import annotations

import pytest

from support.tiny import TINY, make_table
from thermocline import Predictor
from thermocline.cli import main
from thermocline.errors import ConfigError
from thermocline.tuning.schedule.phases import ARGUMENTS, SCHEDULES, Phase

PHASES = [
    {"name": "head", "trains": "head", "epochs": 1},
    {"name": "own", "trains": "head", "epochs": 0.5, "schedule": "cosine", "warmup": 0.3},
    {"name": "short", "warmup": 2},
]
OPTIONS = {"optim.lr_schedule": "wsd", "optim.lr_schedule_args": {"decay": 0.25, "final": 0.1}, "optim.warmup": 0.05}
VALUES = {"final": 0.1, "power": 2.0, "decay": 0.3, "decay_shape": "linear", "cycles": 3, "pct_start": 0.5}
VALUES |= {"div_factor": 10.0, "final_div_factor": 100.0, "momentum": [0.9, 0.8]}


def explained(options):
    return Predictor("y", verbosity=0).explain(make_table(), hyperparameters={**TINY, **options})


def courses(plan):
    return [(one.schedule, one.warmup, one.decay, one.final) for one in plan.phases]


def test_phases_take_what_they_do_not_set(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    plan = explained({**OPTIONS, "optim.phases": PHASES})
    assert courses(plan) == [("wsd", 0.05, 0.25, 0.1), ("cosine", 0.3, 0.1, 0.0), ("wsd", 2, 0.25, 0.1)]
    assert "for the last 25 % falling as 1-sqrt to 0.1" in str(plan)
    plain = explained({"optim.phases": PHASES})
    assert courses(plain) == [("cosine", 0.1, 0.1, 0.0), ("cosine", 0.3, 0.1, 0.0), ("cosine", 2, 0.1, 0.0)]
    objects = [Phase("head", "head", epochs=1), Phase("rest", schedule="constant")]
    assert courses(explained({**OPTIONS, "optim.phases": objects})) == [
        ("wsd", 0.05, 0.25, 0.1),
        ("constant", 0.05, 0.1, 0.0),
    ]


def test_a_file_of_phases_as_plan_takes_them_too_and_a_written_one_stays_as_it_is(tmp_path):
    def fitted(path):
        return Predictor("y", verbosity=0).fit(make_table(), hyperparameters=TINY | OPTIONS, plan=path).plan

    file, written = tmp_path / "phases.yaml", tmp_path / "written.yaml"
    file.write_text("phases:\n  - {name: head, trains: head, epochs: 1}\n  - {name: all, schedule: constant}\n")
    plan = fitted(file)
    assert courses(plan) == [("wsd", 0.05, 0.25, 0.1), ("constant", 0.05, 0.1, 0.0)]
    plain = explained({"optim.phases": PHASES})
    written.write_text(plain.phases_yaml())
    assert fitted(written).phases == plain.phases
    assert explained({**OPTIONS, "optim.phases": str(written)}).phases == plain.phases


def test_named_schedules_start_from_them():
    plan = explained({**OPTIONS, "optim.schedule_plan": "lp_ft"})
    assert courses(plan) == [("wsd", 0.05, 0.25, 0.1)] * 2


def test_presets_of_detection_keep_their_warm_up():
    from thermocline.config import resolve
    from thermocline.pipeline.planning import read_phases

    for preset in ("detection_medium", "detection_high", "detection_best"):
        config = resolve(preset, {"optim.phases": [{"trains": "head", "epochs": 1}, {}]})
        assert [phase.warmup for phase in read_phases(config)] == [0.05, 0.05]


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_fit_follows_each_schedule(name):
    arguments = {one: VALUES[one] for one in ARGUMENTS[name]}
    options = {**TINY, "optim.lr": 0.01, "optim.lr_schedule": name, "optim.lr_schedule_args": arguments}
    predictor = Predictor("y", verbosity=0).fit(make_table(), hyperparameters=options)
    (phase,) = predictor.plan.phases
    given = {one: tuple(value) if isinstance(value, list) else value for one, value in arguments.items()}
    assert {one: getattr(phase, one) for one in arguments} == given
    steps = predictor.plan.total_steps
    rows = predictor.history[predictor.history["step"] > 0].dropna(subset="lr")
    for step, rate in zip(rows["step"], rows["lr"], strict=True):
        assert rate == pytest.approx(0.01 * phase.factor(int(step) - 1, steps))


def test_a_time_limit_shortens_the_decay():
    plan = explained({**OPTIONS, "optim.lr_schedule_args": {"decay": 8}, "optim.max_epochs": 10})
    cursor = plan.timeline.shortened(plan.cursor(0, plan.total_steps), plan.total_steps // 2, 0.5)
    rates = []
    for _ in range(plan.total_steps // 2):
        rates.append(plan.factor_at(cursor))
        cursor = plan.next(cursor)
    assert rates[-4] == 1.0 > rates[-3]  # it falls for 4 steps, not 8


def test_arguments_that_cannot_be():
    for options, says in (
        ({"optim.lr_schedule_args": {"power": 2}}, "optim.lr_schedule_args: cosine has no 'power'; it takes 'final'"),
        ({"optim.lr_schedule": "wsd", "optim.lr_schedule_args": {"decay": 1.5}}, "optim.lr_schedule_args: decay must"),
        ({"optim.lr_schedule_args": "2"}, "it takes a mapping such as"),
    ):
        with pytest.raises(ConfigError, match=says):
            explained(options)


def test_the_command_line(tmp_path, capsys):
    table = tmp_path / "table.csv"
    make_table().to_csv(table, index=False)
    options = ["optim.lr_schedule=polynomial", "optim.lr_schedule_args=power=2, final=0.1", "optim.optimizer=nadam"]
    options += ["optim.optimizer_args=betas=(0.8, 0.99)", *(f"{name}={value}" for name, value in TINY.items())]
    assert main(["explain", str(table), "--label", "y", *(part for one in options for part in ("--set", one))]) == 0
    assert "then polynomial of power 2 to 0.1" in capsys.readouterr().out
