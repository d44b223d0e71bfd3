"""Every named schedule against a closed formula written from its source, for every layer at every step.

The formulas below share nothing with the package: they are written from fastai's `callback/schedule.py` and
`optimizer.py`, ULMFiT (section 3), Composer's `layer_freezing.py`, the Lightning example's milestones, and the papers
named beside each.
"""

from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from math import cos, pi

import numpy as np
import pytest
import torch

from support.layer_maps import MILESTONES, tower
from thermocline.errors import ConfigError, LayerMapError, SelectorError
from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.named_schedules.by_name import NAMED_SCHEDULES, read_request
from thermocline.tuning.plan.layer_plan import LayerPlan

BLOCKS, PER_EPOCH, LR = 6, 10, 1e-3
ONE = LayerMap(tuple(replace(one, pretrained=one.role != "head") for one in tower(blocks=BLOCKS)))
NAMES = ["embeddings", *(f"blocks.{i}" for i in range(BLOCKS)), "head"]  # in execution order
GROUPS = [NAMES[:4], NAMES[4:7], NAMES[7:]]  # stem and early, late, head


def made(request, *, epochs=4, **options):
    options = {"lr": LR, "lr_choice": "single_lr", "schedule": "constant", "warmup": 0.0} | options
    plan = LayerPlan.build(ONE, **options)
    return replace(plan, total_steps=epochs * PER_EPOCH, steps_per_epoch=PER_EPOCH).scheduled(request)


def walked(plan, epochs=4):
    """Rates by (step, name), walking step by step as training does; 0 is frozen."""
    total = epochs * PER_EPOCH
    cursor = plan.start(total, steps_per_epoch=PER_EPOCH)
    rates = {}
    for step in range(total):
        assert cursor.step == step
        assert cursor == plan.cursor(step, total, steps_per_epoch=PER_EPOCH)
        for name in NAMES:
            trains = plan.trainable_at(f"text/{name}", cursor)
            rates[step, name] = plan.lr_at(f"text/{name}", cursor) if trains else 0.0
        cursor = plan.next(cursor)
    return rates


def agree(plan, formula, epochs=4):
    for (step, name), rate in walked(plan, epochs).items():
        assert rate == pytest.approx(formula(step, name), rel=1e-9, abs=1e-30), (step, name)


def group_of(name):
    return next(i for i, names in enumerate(GROUPS) if name in names)


# fastai: combined_cos samples step s of n at s / n; even_mults is geometric


def sched_cos(start, end, pos):
    return start + (1 + cos(pi * (1 - pos))) * (end - start) / 2


def combined_cos(pct, start, middle, end, pos):
    return sched_cos(start, middle, pos / pct) if pos < pct else sched_cos(middle, end, (pos - pct) / (1 - pct))


def fit_one_cycle(lr_max, pos, pct_start, div=25.0, div_final=1e5):
    return combined_cos(pct_start, lr_max / div, lr_max, lr_max / div_final, pos)


def even_mults(start, stop, n):
    return [start * (stop / start) ** (1 / (n - 1) * i) for i in range(n)]


@pytest.mark.parametrize("n", [-1, -2, -3, 0, 1, 2])
def test_freeze_to(n):
    low, high = 1e-5, 1e-3
    lrs = even_mults(low, high, 3)
    agree(
        made({"freeze_to": {"n": n, "lr": [low, high]}}),
        lambda step, name: lrs[group_of(name)] if group_of(name) in range(3)[n:] else 0.0,
    )


def test_slice_of_one_number_gives_a_tenth_below_the_last_group():
    agree(made({"freeze_to": {"n": 0, "lr": [None, 1e-2]}}), lambda step, name: 1e-2 if name == "head" else 1e-3)
    agree(made({"freeze_to": {"n": 0, "lr": 2e-2}}), lambda step, name: 2e-2)
    agree(made("freeze_to"), lambda step, name: LR if name == "head" else 0.0)


@pytest.mark.parametrize(("frozen", "epochs"), [(1, 4), (2, 5)])
def test_fine_tune(frozen, epochs):
    lrs = even_mults(LR / 2 / 100, LR / 2, 3)
    edge, total = frozen * PER_EPOCH, epochs * PER_EPOCH

    def formula(step, name):
        if step < edge:
            return fit_one_cycle(LR, step / edge, 0.99) if name == "head" else 0.0
        return fit_one_cycle(lrs[group_of(name)], (step - edge) / (total - edge), 0.3, div=5.0)

    plan = made(f"fine_tune(freeze_epochs={frozen})", epochs=epochs, lr_choice="layerwise_decay")
    agree(plan, formula, epochs)
    # fastai's moms are (.95, .85, .95)
    for step in range(total):
        cursor = plan.cursor(step, total, steps_per_epoch=PER_EPOCH)
        pct, pos = (0.99, step / edge) if step < edge else (0.3, (step - edge) / (total - edge))
        assert plan.momentum_at(cursor) == pytest.approx(combined_cos(pct, 0.95, 0.85, 0.95, pos))


def test_milestones_and_the_last_of_them_runs():
    def formula(step, name):
        epoch = step // PER_EPOCH + 1
        begin = max(e for e in MILESTONES if e <= epoch)
        one = MILESTONES[begin]
        if group_of(name) not in range(3)[one["freeze_to"] :]:
            return 0.0
        pos = (step - (begin - 1) * PER_EPOCH) / (one["duration"] * PER_EPOCH)
        top = one["lrs"][group_of(name)]
        return combined_cos(one["pct_start"], top / 5, top, top / 5 / 100, pos)

    plan = made({"milestones": MILESTONES})
    agree(plan, formula)
    assert plan.epochs == 4
    assert walked(plan)[39, "embeddings"] > 0


def test_one_cycle_is_pytorchs_sampled_up_to_a_step_earlier():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1, momentum=0.9)
    theirs = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, 50, pct_start=0.3, div_factor=5, final_div_factor=100)
    rates = []
    for _ in range(50):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if len(rates) < 50:
            theirs.step()
    plan = made({"milestones": {1: {"freeze_to": 0, "duration": 5, "lrs": [1e-3] * 3}}}, epochs=5)
    ours = [rate for (_, name), rate in walked(plan, 5).items() if name == "head"]
    assert ours[0] == pytest.approx(rates[0])
    for step in range(1, 50):
        low, high = sorted((rates[step - 1], rates[step]))
        assert low * (1 - 1e-9) <= ours[step] <= high * (1 + 1e-9)


# ULMFiT, section 3.3: the last layer first, then the next lower one; section 3.2: eta(l - 1) = eta(l) / 2.6


@pytest.mark.parametrize("every", [1, 0.5])
def test_gradual_unfreeze(every):
    from_top = NAMES[::-1]

    def formula(step, name):
        depth = from_top.index(name)
        return LR / 2.6**depth if step >= depth * every * PER_EPOCH else 0.0

    agree(made(f"gradual_unfreeze(every={every}, thaw_warmup=0)", epochs=9), formula, 9)


def test_gradual_unfreeze_by_default_at_even_shares_with_a_warm_up():
    total, from_top = 80, NAMES[::-1]

    def formula(step, name):
        depth = from_top.index(name)
        begin = 10 * depth
        if step < begin:
            return 0.0
        warm = (step - begin + 1) / 3 if depth and step < begin + 2 else 1.0
        return LR * warm * 0.5 * (1 + cos(pi * step / total))  # one cosine over the whole run

    agree(made("gradual_unfreeze(factor=None, thaw_warmup=2)", epochs=8, schedule="cosine"), formula, 8)


def test_gradual_unfreeze_by_plateau():
    plan = made("gradual_unfreeze(every='plateau', patience=2, min_delta=0.1)", epochs=8)
    cursor = plan.start(80, steps_per_epoch=10)
    for score in (0.5, 0.55, 0.59):  # the first is the best; twice no gain of 0.1
        cursor = plan.observe(plan.next(cursor), score)
    assert (cursor.phase, cursor.phase_start, cursor.step) == (1, 3, 3)
    assert plan.trainable_at("text/blocks.5", cursor)
    while cursor.phase == 1:
        cursor = plan.observe(plan.next(cursor), float(cursor.step))  # ever better: it ends at its share of the run
    assert cursor.step == 20


# Composer, layer_freezing.py: int(level * (elapsed - start) / (1 - start) * n_layers), frozen from the input side


def composer_depth(elapsed, start, level, n):
    if elapsed <= start:
        return 0
    return int(level * (elapsed - start) / (1 - start) * n)


@pytest.mark.parametrize(("start", "level"), [(0.5, 1.0), (0.0, 1.0), (0.25, 0.5), (0.9, 1.0), (0.3, 0.0)])
@pytest.mark.parametrize("every", ["step", "epoch"])
def test_progressive_freeze(start, level, every):
    total = 80
    exact = Fraction(start).limit_denominator(100), Fraction(level).limit_denominator(100)

    def formula(step, name):
        elapsed = Fraction(step, total) if every == "step" else Fraction(step // PER_EPOCH, 8)
        frozen = NAMES[: composer_depth(elapsed, *exact, len(NAMES) - 1)]
        return 0.0 if name in frozen else LR * (1 - step / total)

    agree(
        made(f"progressive_freeze(start={start}, level={level}, every='{every}')", epochs=8, schedule="linear"),
        formula,
        8,
    )


# Kumar et al. 2022, surgical fine-tuning (Lee et al. 2022), LISA (Pan et al. 2024)


@pytest.mark.parametrize("probe", [0, 1, 2])
def test_lp_ft(probe):
    plan = made(f"lp_ft(probe_epochs={probe})")
    agree(plan, lambda step, name: LR if name == "head" or step >= probe * PER_EPOCH else 0.0)


@pytest.mark.parametrize(("which", "n", "chosen"), [("first", 1, [0]), ("middle", 2, [2, 3]), ("last", 3, [3, 4, 5])])
def test_surgical(which, n, chosen):
    names = ["head", *(f"blocks.{i}" for i in chosen)]
    agree(made(f"surgical(which='{which}', n={n})"), lambda step, name: LR if name in names else 0.0)


def test_lisa():
    n, every, seed = 2, 7, 3

    def formula(step, name):
        if not name.startswith("blocks"):
            return LR
        drawn = np.random.default_rng([seed, step // every, 0x115A]).choice(BLOCKS, size=n, replace=False)
        return LR if int(name.rpartition(".")[2]) in drawn else 0.0

    plan = made(f"lisa(n_layers={n}, every={every}, seed={seed})")
    agree(plan, formula)
    rates = walked(plan)
    blocks = [frozenset(name for name in NAMES[1:-1] if rates[step, name]) for step in range(40)]
    assert {len(one) for one in blocks} == {n}
    assert len(set(blocks)) > 3


def test_towers_of_unequal_length_are_unfrozen_side_by_side():
    fresh = replace(tower("fusion", 0, pretrained=False)[-1], depth=0)
    layer_map = LayerMap((*tower("text", 6)[:-1], *tower("image", 3)[:-1], fresh))
    plan = LayerPlan.build(layer_map, lr=1.0).scheduled("gradual_unfreeze(every=1, factor=None)")
    begins = {label: next(i for i, own in enumerate(plan.timeline.always) if label in own) for label in plan.labels}
    assert begins["fusion/head"] == 0
    assert begins["text/blocks.5"] == begins["image/blocks.2"] == 1
    assert begins["text/embeddings"] == begins["image/embeddings"] == 7


def test_pinned_stays_frozen_under_every_schedule():
    for name in NAMED_SCHEDULES:
        request = {name: MILESTONES} if name == "milestones" else name
        plan = made(request, frozen_layers=["stem", "blocks.0"], epochs=8)
        assert {"text/embeddings", "text/blocks.0"} <= set(plan.frozen)
        assert not any(rate for (_, own), rate in walked(plan, 8).items() if own in ("embeddings", "blocks.0"))


def test_own_groups():
    groups = [["stem", "blocks.[0-1]"], "blocks.[2-5]", "head"]
    plan = made({"freeze_to": {"n": -2, "groups": groups}})
    rates = walked(plan)
    assert {name for name in NAMES if rates[0, name]} == set(NAMES[3:])
    with pytest.raises(ConfigError, match=r"'text/blocks.5' in none"):
        made({"freeze_to": {"groups": ["stem", "blocks.[0-4]", "head"]}})
    with pytest.raises(ConfigError, match=r"'text/blocks.1' in two groups"):
        made({"freeze_to": {"groups": ["stem", "blocks.[0-1]", "blocks.[1-5]", "head"]}})
    with pytest.raises(SelectorError, match=r"groups\[1\]"):
        made({"freeze_to": {"groups": ["stem", "blokcs", "head"]}})


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ("fine_tun", "Did you mean 'fine_tune'"),
        ("fine_tune(freeze_epoch=1)", "Did you mean 'freeze_epochs'"),
        ("fine_tune(1)", "neither a name nor"),
        ("fine_tune(epochs=open('x'))", "neither a name nor"),
        ({"fine_tune": 3}, "are a mapping"),
        (7, "takes a name"),
        ("milestones", "needs 'milestones'"),
        ({"milestones": {2: {"freeze_to": 0}}}, "begin at epoch 1"),
        ({"milestones": {1: {"duration": 2}, 2: {}}}, "the next one begins 1 epoch later"),
        ({"milestones": {1: {"lrs": [1.0]}}}, "one rate for each of the 3 groups"),
        ({"milestones": {1: {"lr": [1.0]}}}, "Did you mean 'lrs'"),
        ("freeze_to(n=3)", "from -3 to 2"),
        ("freeze_to(lr=[1, 2, 3])", r"\[low, high\]"),
        ("gradual_unfreeze(every='epoch')", "'plateau' or null"),
        ("gradual_unfreeze(every=0)", "positive"),
        ("gradual_unfreeze(factor=0)", "positive"),
        ("progressive_freeze(start=1)", "fraction"),
        ("progressive_freeze(every='batch')", "'step' or 'epoch'"),
        ("surgical(which='frist')", "Did you mean 'first'"),
        ("surgical(n=7)", "more blocks than there are: 6"),
        ("lisa(n_layers=7)", "only 6 to draw from"),
        ("lisa(every=0)", "at least 1"),
        ("lp_ft(probe_epochs=-1)", "negative"),
    ],
)
def test_faults(request_, message):
    with pytest.raises(ConfigError, match=message):
        made(request_)


def test_requests():
    assert read_request("fine_tune") == ("fine_tune", {})
    assert read_request({"lisa": None}) == ("lisa", {})
    assert read_request("lisa(n_layers=4, seed=1)") == ("lisa", {"n_layers": 4, "seed": 1})
    assert read_request({"milestones": {"1": {}}}) == ("milestones", {"milestones": {"1": {}}})


def test_progressive_freeze_by_epoch_has_to_know_them():
    plan = LayerPlan.build(ONE, lr=1.0)
    with pytest.raises(ConfigError, match="epochs="):
        plan.scheduled("progressive_freeze(every='epoch')")
    assert len(plan.scheduled("progressive_freeze(every='epoch', epochs=4)").phases) == 2


def test_an_order_that_is_not_known_is_not_gone_by():
    plan = replace(LayerPlan.build(ONE, lr=1.0), confident=False)
    with pytest.raises(LayerMapError, match="from_patterns"):
        plan.scheduled("gradual_unfreeze")
    assert len(plan.scheduled("lp_ft(probe_epochs=0)").phases) == 1


@pytest.mark.parametrize(("blocks", "factor"), [(3, 2.6), (6, 2.6), (12, 1000 ** (1 / 13)), (24, 1000 ** (1 / 25))])
def test_the_factor_of_gradual_unfreeze_leaves_the_lowest_layer_a_thousandth(blocks, factor):
    layer_map = LayerMap(tuple(replace(one, pretrained=one.role != "head") for one in tower(blocks=blocks)))
    plan = LayerPlan.build(layer_map, lr=1e-4)
    peaks = list(plan.scheduled("gradual_unfreeze").peaks.values())
    for low, high in pairwise(peaks):
        assert high / low == pytest.approx(factor)
    assert peaks[-1] == 1.0
    assert peaks[0] >= 0.001 * (1 - 1e-9)
    # what is pinned frozen changes no depth
    pinned = replace(plan.edit("0:2", lr_scale=0)).scheduled("gradual_unfreeze").peaks
    assert list(pinned.values()) == [0.0, 0.0, *peaks[2:]]


def test_a_factor_that_is_no_number():
    with pytest.raises(ConfigError, match="a number above 0, 'auto' or null"):
        made("gradual_unfreeze(factor='fast')")
