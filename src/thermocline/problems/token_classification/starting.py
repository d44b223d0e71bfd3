"""A model that starts from an earlier one: its tower, and what its head knows of classes, matched by value."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from thermocline.config import ResolvedConfig
from thermocline.config.joined import option_names
from thermocline.contracts.inputs import BuiltInput, RowSource
from thermocline.contracts.problem import Assembly
from thermocline.contracts.starting import FRESH, PART, WHOLE, Earlier, Started, kept_options
from thermocline.data.columns import Columns
from thermocline.errors import counted, listing
from thermocline.inputs.text.info import INFO
from thermocline.problems.token_classification.input import TokenInput
from thermocline.problems.token_classification.model import TOWER, TokenModel
from thermocline.problems.token_classification.target import EntityTarget


def continued(earlier: Earlier, source: RowSource, columns: Columns, config: ResolvedConfig) -> BuiltInput:
    """Return a copy of the earlier input for these rows.

    Raises:
        ConfigError: Options ask for another tower.
    """
    before: Assembly = earlier.assembly
    config = kept_options(config, before.config, option_names(INFO.options), INFO.free_options, tower=TOWER)
    return TokenInput().continued(before.built.inputs[TOWER], source, columns, config)


@torch.no_grad()
def take_head(earlier: Earlier, model: TokenModel, target: EntityTarget) -> tuple[Started, str]:
    """Write what an earlier head knows into a model, and return what was taken and a line on it.

    The tags of a class that it did not know are those of a class like the others: the mean of what these have.
    """
    before: Assembly = earlier.assembly
    was: EntityTarget = before.target
    places = [was.classes.index(label) if label in was.classes else None for label in target.classes]
    known = [place for place in places if place is not None]
    started = Started(earlier.where, earlier.fingerprint, (TOWER,))
    if not known:
        return started, f"{started}: the text tower; no class is as before, so the head starts anew"
    old, head = before.model.head, model.head
    for now, then in ((head.weight, old.weight), (head.bias, old.bias)):
        now[0] = then[0]
        for place, there in enumerate(places):
            for side in (1, 2):
                rows = [side + 2 * one for one in known] if there is None else [side + 2 * there]
                now[side + 2 * place] = then[rows].mean(dim=0)
    new = tuple(side + 2 * place for place, there in enumerate(places) if there is None for side in (1, 2))
    gone = [label for label in was.classes if label not in target.classes]
    said = f"{started}: the text tower, and {len(known)} of {counted(len(places), 'class', 'classes')}"
    said += f"; new are {listing(_new(target.classes, places))}" if new else ""
    said += f"; {listing(gone)} are no labels any more, and are not found" if gone else ""
    return Started(earlier.where, earlier.fingerprint, (TOWER,), PART if new else WHOLE if known else FRESH, new), said


def _new(classes: Sequence[object], places: Sequence[int | None]) -> list[object]:
    return [label for label, place in zip(classes, places, strict=True) if place is None]
