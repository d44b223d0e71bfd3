"""A model of rows that starts from an earlier one: which towers it has, and which outputs of the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from thermocline.contracts.inputs import BuiltInput
from thermocline.contracts.problem import Assembly
from thermocline.contracts.starting import PART, WHOLE, Earlier, NotTakenError, Started
from thermocline.errors import ConfigError, counted, listing
from thermocline.problems.rowwise.info import INFO
from thermocline.problems.rowwise.model import FusionModel
from thermocline.problems.rowwise.quantiles import nearest
from thermocline.problems.rowwise.target import MIDDLE, RowTarget
from thermocline.problems.rowwise.transforms import Transform
from thermocline.tuning.layers.layer_map import LayerMap


def check_some_taken(earlier: Earlier, inputs: Sequence[BuiltInput], anew: Mapping[str, str]) -> None:
    """Check that some tower of the earlier model is taken.

    Raises:
        ConfigError: None is.
    """
    if len(anew) < len(inputs):
        return
    before: Assembly = earlier.assembly
    why = "; ".join(f"{name} tower: {reason}" for name, reason in anew.items())
    raise ConfigError(
        f"Nothing of the model that start_from={earlier.where!r} has fits these data. {why}. It read "
        f"{listing(before.columns.used)}. Give the columns that it read (missing values are allowed), or leave "
        "start_from out to train a new model."
    )


def taken_from(
    earlier: Earlier, model: FusionModel, target: RowTarget, anew: Mapping[str, str]
) -> tuple[Started, tuple[str, ...]]:
    """Write the outputs that an earlier head has into a model, and return what was taken, and lines on it.

    Args:
        earlier: The predictor that the fit starts from.
        model: The model, which has its towers; the head is at random.
        target: What the label asks for.
        anew: Tower → why it was built anew.
    """
    towers = tuple(name for name in model.towers if name not in anew)
    started = Started(earlier.where, earlier.fingerprint, towers)
    lines = [f"{started}: {_words(towers)}; categories, medians and tokenizer are those of that fit"]
    lines += [f"{name} tower: starts anew, {why}" for name, why in anew.items()]
    try:
        head, new, said = _take_head(earlier.assembly, model, target)
    except NotTakenError as why:
        lines.append(f"the head starts anew: {why}")
        return started, tuple(lines)
    return replace(started, head=head, new=new), (*lines, said)


def transform_before(earlier: Earlier | None, target: RowTarget, scale: str) -> Transform | None:
    """Return the scale on which an earlier fit learnt the same label, where options leave it open or ask for the same.

    Args:
        earlier: The predictor that the fit starts from.
        target: A regression.
        scale: `data.target_transform`.
    """
    if earlier is None or earlier.assembly.target.label != target.label:
        return None
    found: Transform | None = _plain(earlier.assembly.target.transform)
    return found if found is not None and scale in ("auto", found.name) else None


def with_known_head(layer_map: LayerMap) -> LayerMap:
    """Return the layers of a model whose head was taken, which starts no more afresh than its towers do."""
    joined = ("fusion", "head")
    layers = (replace(one, pretrained=True) if one.role in joined else one for one in layer_map.layers)
    return replace(layer_map, layers=tuple(layers))


def start_words(started: Started) -> dict[str, str]:
    """Return what step 0 of the history says of a head that comes from an earlier fit."""
    return {
        "start_note": f"the head is that of {started.where!r}",
        "untrained": f"the state that {started.where!r} gave",
    }


def _words(towers: Sequence[str]) -> str:
    *front, last = towers
    return f"the {' and '.join(filter(None, [', '.join(front), last]))} tower{'s' if front else ''}"


def _take_head(before: Assembly, model: FusionModel, target: RowTarget) -> tuple[str, tuple[int, ...], str]:
    """Write outputs of an earlier head into a model; return how much of it, new positions, and a line.

    Raises:
        NotTakenError: It does not fit.
    """
    old, was = before.model, before.target
    _check_same(old, model)
    if was.label != target.label:
        raise NotTakenError(f"the label is {target.label!r}, and was {was.label!r}")
    if target.problem_type not in INFO.default_metric:  # of a kind that derives from this one: its outputs are its own
        return _take_own(old, was, model, target)
    if was.loss_name != target.loss_name:
        raise NotTakenError(f"the label is {target.problem_type}, and was {was.problem_type}")
    if target.problem_type == "regression":
        return _take_numbers(old, was, model, target)
    known = {value: place for place, value in enumerate(was.classes)}
    places = [known.get(value) for value in target.classes]
    if all(place is None for place in places):
        raise NotTakenError(f"no class is as before: {listing(target.classes)}, and were {listing(was.classes)}")
    _copy_but_outputs(old, model)
    for now, then in zip(_last_layers(model), _last_layers(old), strict=True):
        _copy_rows(now, then, places)
    new = [value for value, place in zip(target.classes, places, strict=True) if place is None]
    gone = [value for value in was.classes if value not in target.classes]
    said = f"the head has {len(places) - len(new)} of {counted(len(places), 'class', 'classes')} from that fit"
    said += f"; new are {listing(new)}" if new else ""
    said += f"; {listing(gone)} are no labels any more, and are not predicted" if gone else ""
    fresh = tuple(place for place, then in enumerate(places) if then is None)
    return PART if new else WHOLE, fresh, said


def _take_own(
    old: FusionModel, was: RowTarget, model: FusionModel, target: RowTarget
) -> tuple[str, tuple[int, ...], str]:
    """Copy the outputs of a kind of the caller's own, where classes and their number are the same."""
    same = (was.problem_type, was.classes, was.width) == (target.problem_type, target.classes, target.width)
    if not same:
        raise NotTakenError("the classes are others, or mean something else")
    _copy_but_outputs(old, model)
    for now, then in zip(_last_layers(model), _last_layers(old), strict=True):
        _copy_rows(now, then, range(target.width))
    return WHOLE, (), "the head is that of that fit"


def _check_same(old: FusionModel, model: FusionModel) -> None:
    """Check that the layers between towers and outputs are of the same shape."""
    if type(old) is not type(model) or old.widths != model.widths or old.members != model.members:
        raise NotTakenError("it is over other features")
    shapes = [
        {name: p.shape for name, p in one.named_parameters() if name.startswith("fusion")} for one in (old, model)
    ]
    inner = [{name: shape for name, shape in one.items() if not name.startswith("fusion.4.")} for one in shapes]
    if inner[0] != inner[1]:
        raise NotTakenError("the layers that join the towers have another width (model.fusion.width)")


def _last_layers(model: FusionModel) -> list[nn.Linear]:
    """Return the layers that give outputs: the head, and the last one of the fusion MLP."""
    last = [] if model.fusion is None else [model.fusion[-1]]
    return [one for one in (model.head, *last) if isinstance(one, nn.Linear)]


@torch.no_grad()
def _copy_but_outputs(old: FusionModel, model: FusionModel) -> None:
    """Copy what lies between towers and outputs."""
    if old.fusion is not None and model.fusion is not None:
        for now, then in zip(model.fusion[:-1].parameters(), old.fusion[:-1].parameters(), strict=True):
            now.copy_(then)
    if model.members:
        model.probed.copy_(old.probed)


@torch.no_grad()
def _copy_rows(now: nn.Linear, then: nn.Linear, places: Sequence[int | None]) -> None:
    """Copy outputs by their places; a new one is the mean of those that are known."""
    known = [place for place in places if place is not None]
    for into, source in ((now.weight, then.weight), (now.bias, then.bias)):
        mean = source[known].mean(dim=0)
        for place, there in enumerate(places):
            into[place] = mean if there is None else source[there]


@torch.no_grad()
def _take_numbers(
    old: FusionModel, was: RowTarget, model: FusionModel, target: RowTarget
) -> tuple[str, tuple[int, ...], str]:
    """Copy the outputs of a regression; what they mean in the label's units stays, whatever mean and spread are now.

    Of other quantiles than before each is the one whose level was the nearest.
    """
    if _plain(was.transform) != _plain(target.transform):
        raise NotTakenError("the label is learnt on another scale (data.target_transform)")
    _copy_but_outputs(old, model)
    places = [nearest(was.levels or (MIDDLE,), level) for level in target.levels or (MIDDLE,)]
    for now, then in zip(_last_layers(model), _last_layers(old), strict=True):
        _copy_rows(now, then, places)
    if was.offsets:
        model.head.bias.add_(torch.tensor(was.offsets)[places].to(model.head.bias))
    said = "the head is that of that fit"
    if was.levels != target.levels and places != [0]:
        said += ", each output that of the nearest level"
    if (was.mean, was.std) == (target.mean, target.std):
        return WHOLE, (), said
    for layer in _last_layers(model):
        layer.weight.mul_(was.std / target.std)
        layer.bias.mul_(was.std / target.std)
    model.head.bias.add_((was.mean - target.mean) / target.std)
    return WHOLE, (), f"{said}, for the mean and the spread of these labels"


def _plain(transform: Transform | None) -> Transform | None:
    return None if transform is None else replace(transform, errors=())
