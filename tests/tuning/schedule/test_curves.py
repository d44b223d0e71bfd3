"""Schedules as functions of a step: laws, and the formulas of torch and transformers."""

import itertools
import math

import pytest
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st

from thermocline.errors import ConfigError
from thermocline.tuning.schedule.phases import ARGUMENTS, DECAY_SHAPES, SCHEDULES, Phase, check_arguments

share = st.floats(0.0, 0.9)
phases = st.builds(
    Phase,
    schedule=st.sampled_from([name for name in SCHEDULES if name != "one_cycle"]),
    warmup=st.one_of(share, st.integers(0, 12)),
    final=share,
    power=st.floats(0.1, 4),
    decay=st.one_of(share, st.integers(0, 90)),
    decay_shape=st.sampled_from(DECAY_SHAPES),
    cycles=st.integers(1, 5),
)


def course(phase, steps):
    return [phase.factor(step, steps) for step in range(steps)]


def warmup_of(phase, steps):
    return phase.warmup if isinstance(phase.warmup, int) else round(phase.warmup * steps)


@settings(max_examples=300, deadline=None)
@given(phases, st.integers(1, 120))
def test_laws(phase, steps):
    """Within (0, 1]; a straight rise; 1 after it; falling from there, but where a cycle begins."""
    rates, warmup = course(phase, steps), warmup_of(phase, steps)
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[:warmup] == pytest.approx([(step + 1) / (warmup + 1) for step in range(min(warmup, steps))])
    after = rates[warmup:]
    if not after:
        return
    assert after[0] == 1.0 or (phase.schedule == "wsd" and phase.decay)
    rises = [step for step, (a, b) in enumerate(itertools.pairwise(after), 1) if b > a + 1e-12]
    assert len(rises) <= (phase.cycles - 1 if phase.schedule == "cosine_restarts" else 0)
    if phase.schedule not in ("inverse_sqrt", "constant"):
        assert min(rates[warmup:]) >= phase.final - 1e-12


@settings(max_examples=60, deadline=None)
@given(phases, st.integers(8, 200))
def test_a_run_twice_as_long_takes_the_same_course(phase, steps):
    """At the same shares of the run, where lengths are shares of it, nearly the same rates: a long run is smooth."""
    if isinstance(phase.warmup, int) or isinstance(phase.decay, int) or phase.schedule == "cosine_restarts":
        return
    short, long = course(phase, 10 * steps), course(phase, 20 * steps)
    worst = max(abs(a - b) for a, b in zip(short, long[::2], strict=True))
    steepest = max(2.0, 4 / max(phase.decay, 0.01), 2 / max(phase.warmup, 0.01))
    assert worst <= math.sqrt(steepest / steps)


def theirs(make, steps, **arguments):
    """The multiples of a scheduler of torch or transformers; its warm-up is sampled a step earlier than ours."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer, **arguments)
    out = []
    for _ in range(steps):
        out.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return out


HF = transformers.optimization
CASES = {
    "polynomial": (
        Phase(schedule="polynomial", warmup=10, power=2.0, final=0.25),
        HF.get_polynomial_decay_schedule_with_warmup,
        {"num_warmup_steps": 10, "num_training_steps": 80, "power": 2.0, "lr_end": 0.25},
    ),
    "poly of torch": (
        Phase(schedule="polynomial", warmup=0, power=0.9),
        torch.optim.lr_scheduler.PolynomialLR,
        {"total_iters": 80, "power": 0.9},
    ),
    "inverse_sqrt": (
        Phase(schedule="inverse_sqrt", warmup=10),
        HF.get_inverse_sqrt_schedule,
        {"num_warmup_steps": 10},
    ),
    "cosine_restarts": (
        Phase(schedule="cosine_restarts", warmup=8, cycles=3),
        HF.get_cosine_with_hard_restarts_schedule_with_warmup,
        {"num_warmup_steps": 8, "num_training_steps": 80, "num_cycles": 3},
    ),
    "SGDR of torch": (
        Phase(schedule="cosine_restarts", warmup=0, cycles=4, final=0.1),
        torch.optim.lr_scheduler.CosineAnnealingWarmRestarts,
        {"T_0": 20, "eta_min": 0.1},
    ),
} | {
    f"wsd, {shape}": (
        Phase(schedule="wsd", warmup=10, decay=20, decay_shape=shape, final=0.2),
        HF.get_wsd_schedule,
        {"num_warmup_steps": 10, "num_decay_steps": 20, "num_training_steps": 80, "decay_type": shape}
        | {"min_lr_ratio": 0.2},
    )
    for shape in DECAY_SHAPES
}


@pytest.mark.parametrize("name", CASES)
def test_the_formulas_of_torch_and_transformers(name):
    phase, make, arguments = CASES[name]
    ours, others, warmup = course(phase, 80), theirs(make, 80, **arguments), phase.warmup
    assert ours[warmup:] == pytest.approx(others[warmup:], abs=1e-12)
    assert ours[:warmup] == pytest.approx([(step + 1) / (warmup + 1) for step in range(warmup)])


def test_a_polynomial_of_power_one_is_a_line():
    for warmup in (0, 7, 0.3):
        line, polynomial = (Phase(schedule=one, warmup=warmup, final=0.1) for one in ("linear", "polynomial"))
        assert course(line, 50) == course(polynomial, 50)


def test_the_inverse_square_root_without_a_warm_up_has_a_scale():
    rates = course(Phase(schedule="inverse_sqrt", warmup=0), 100)
    assert rates[0] == 1.0
    assert rates[30] == pytest.approx(0.5)  # three times a tenth of the run


def test_stable_means_stable():
    rates = course(Phase(schedule="wsd", warmup=0.1, decay=0.2), 100)
    assert rates[10:80] == [1.0] * 70
    assert rates[81] < 1
    assert rates[-1] == pytest.approx(1 - math.sqrt(19 / 20))
    assert course(Phase(schedule="wsd", warmup=0.5, decay=0), 20)[10:] == [1.0] * 10


def test_shorter_runs_have_shorter_decays():
    phase = Phase(schedule="wsd", warmup=10, decay=20, steps=100)
    assert (phase.shortened(0.5).warmup, phase.shortened(0.5).decay) == (5, 10)
    assert Phase(schedule="wsd", decay=0.2).shortened(0.5).decay == 0.2


def test_arguments_are_those_of_the_schedule():
    for name, arguments in ARGUMENTS.items():
        check_arguments(name, dict.fromkeys(arguments), "here")
    with pytest.raises(ConfigError, match=r"polynomial has no 'pwer'; it takes 'final', 'power'.* 'power'"):
        check_arguments("polynomial", {"pwer": 2}, "here")
    with pytest.raises(ConfigError, match="inverse_sqrt has no 'final'; it takes none"):
        check_arguments("inverse_sqrt", {"final": 0.1}, "here")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("power", 0),
        ("power", "2"),
        ("cycles", 0),
        ("cycles", 1.5),
        ("decay", -1),
        ("decay", 1.0),
        ("decay_shape", "exp"),
    ],
)
def test_what_is_not_allowed_names_the_field(field, value):
    with pytest.raises(ConfigError, match=field):
        Phase(**{field: value})
