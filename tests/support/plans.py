"""A plan by every named schedule, and some by hand, for the toy model: stem, three blocks, norm, head."""

from dataclasses import replace

from thermocline.tuning.layers.layer_map import LayerMap
from thermocline.tuning.named_schedules.by_name import NAMED_SCHEDULES, phases_by
from thermocline.tuning.plan.layer_plan import LayerPlan
from thermocline.tuning.schedule.phases import Phase, Plateau

REQUESTS = {
    "freeze_to": {"freeze_to": {"n": -2, "lr": [1e-4, 1e-2]}},
    "fine_tune": "fine_tune",
    "milestones": {
        "milestones": {
            "milestones": {
                1: {"freeze_to": -1, "duration": 1},
                2: {"freeze_to": -2, "duration": 1, "pct_start": 0.4},
                3: {"freeze_to": 0, "lrs": [1e-4, 1e-3, 1e-2]},
            },
        }
    },
    "gradual_unfreeze": "gradual_unfreeze",
    "gradual_unfreeze by plateau": "gradual_unfreeze(every='plateau')",
    "progressive_freeze": "progressive_freeze(start=0.2)",
    "lp_ft": "lp_ft",
    "surgical": "surgical(which='middle')",
    "lisa": "lisa(n_layers=1, every=2, seed=3)",
}
BY_HAND = {
    "one phase, some pinned": (Phase(),),
    "thaw and freeze again": (
        Phase("head", trains="head", steps=4, schedule="constant"),
        Phase("top", trains=("blocks.2", "head"), steps=4, schedule="one_cycle", optimizer_state="reset"),
        Phase("all", epochs=0.6, thaw_warmup=2, restore_best=True),
        Phase("head again", trains="head"),
    ),
    "plateaus": (
        Phase("head", trains="head", plateau=Plateau(1), schedule="constant"),
        Phase("top", trains=("blocks.2", "head"), plateau=Plateau(2), optimizer_state="reset", schedule="constant"),
        Phase("all", restore_best=True),
    ),
}
NAMES = [*REQUESTS, *BY_HAND]
assert {name.split()[0] for name in REQUESTS} == set(NAMED_SCHEDULES)


def plan_of(name: str, layer_map: LayerMap, *, lr: float = 0.02) -> LayerPlan:
    """The plan of this name for the toy model."""
    frozen = ["stem", "blocks.0"] if "pinned" in name else None
    plan = LayerPlan.build(layer_map, lr=lr, weight_decay=0.1, frozen_layers=frozen)
    return replace(plan, phases=BY_HAND[name] if name in BY_HAND else phases_by(plan, REQUESTS[name]))
