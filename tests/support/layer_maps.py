"""The layers of a model that was never built, and a request for milestones over three groups of them."""

from __future__ import annotations

from thermocline.tuning.layers.layer import Layer

MILESTONES = {
    1: {"freeze_to": -1, "duration": 1, "pct_start": 0.3, "lrs": [0.0, 0.0, 1e-3]},
    2: {"freeze_to": -2, "duration": 2, "pct_start": 0.5, "lrs": [0.0, 5e-4, 5e-4]},
    4: {"freeze_to": 0, "duration": 1, "pct_start": 0.3, "lrs": [1e-6, 1e-5, 1e-4]},
}


def tower(
    name: str = "text", blocks: int = 12, *, pretrained: bool = True, neck: bool = False, prefix: str = "blocks"
) -> tuple[Layer, ...]:
    """A stem, blocks, perhaps a neck, and a head."""
    rows = [("embeddings", "stem"), *((f"{prefix}.{i}", "block") for i in range(blocks))]
    rows += [("pooler", "neck")] if neck else []
    rows += [("head", "head")]
    return tuple(
        Layer(
            name=own,
            tower=name,
            role=role,
            depth=depth,
            parameters=(f"{name}.{own}.inner.weight", f"{name}.{own}.bias"),
            modules=(f"{name}.{own}", f"{name}.{own}.inner"),
            pretrained=pretrained,
            source="caller",
            n_parameters=5,
        )
        for depth, (own, role) in enumerate(rows)
    )
