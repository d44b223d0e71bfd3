"""Training a small part of a backbone in place of all of it: what `model.peft` does to towers and plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from torch import nn

from thermocline.backbones.adapters import INJECTED, Adapters, ia3_targets, inject, reachable, require_peft
from thermocline.config import ResolvedConfig
from thermocline.data.columns import Columns
from thermocline.errors import ConfigError, LayerMapError, first_line, listing
from thermocline.problems.rowwise.model import FusionModel
from thermocline.registry import input_infos
from thermocline.tuning.layers.adapters import biases, matrices, norms, with_injected
from thermocline.tuning.layers.layer_map import LayerMap

if TYPE_CHECKING:
    from thermocline.config.schema import ModelConfig

_CHOSEN = {"bitfit": biases, "norm": norms}
_OTHERS = "'lora', 'ia3', 'bitfit' or 'norm'"


def check(columns: Columns, config: ResolvedConfig) -> None:
    """Check, before anything is loaded, that there is something to adapt and a library to do it.

    Args:
        columns: The columns; they decide which towers there are.
        config: The configuration.

    Raises:
        ConfigError: There is no backbone.
        MissingDependencyError: peft is needed and not installed.
    """
    method = config.model.peft
    if method is None:
        return
    if not any(info.has_backbone and columns.have(info.column_types) for info in input_infos()):
        raise ConfigError(
            f"model.peft={method!r} adapts the backbone of a text or image tower, and these columns make none: a table "
            f"tower has nothing to adapt. Set model.peft to null, or see the columns' types (column_types)."
        )
    if method in INJECTED:
        require_peft(method)


def adapt(model: FusionModel, config: ResolvedConfig, before: LayerMap | None = None) -> dict[str, LayerMap]:
    """Adapt the backbones of a model, in place. One that has adapters of an earlier fit keeps them.

    Args:
        model: The model.
        config: The configuration.
        before: The layers of the model that towers with adapters come from.

    Returns:
        The layers of each backbone, by tower; what trains in it has the role `adapter`. Empty without `model.peft`.

    Raises:
        ConfigError: A backbone has nothing that the method could train.
        LayerMapError: The layers of a backbone are not known.
    """
    towers = {name: tower for name, tower in model.towers.items() if tower.backbone_module is not None}
    has = {name: tower for name, tower in towers.items() if getattr(tower, "adapters", None) is not None}
    for name, tower in has.items():
        _check_same(name, tower, config.model)
    if config.model.peft is None:
        return {}
    return {
        name: before.part(f"towers.{name}.backbone") if before and name in has else _adapted(tower, name, config.model)
        for name, tower in towers.items()
    }


def _check_same(name: str, tower: Any, options: ModelConfig) -> None:
    """Check that the adapters that a tower has are those that options ask for.

    Raises:
        ConfigError: They are others.
    """
    has: Adapters = tower.adapters
    if options.peft == has.method and (has.method != "lora" or options.lora_rank == has.rank):
        return
    rank = f" of rank {has.rank}" if has.method == "lora" else ""
    raise ConfigError(
        f"The {name} tower that start_from takes has {has.method} adapters{rank}, and model.peft={options.peft!r} asks "
        f"for others. Leave model.peft and its rank out: those of the earlier fit are kept and trained on."
    )


def with_frozen_hosts(layer_map: LayerMap, selectors: Mapping[str, Any]) -> dict[str, Any]:
    """Return selectors of frozen layers by tower, the hosts of adapters added: only adapters train in a backbone.

    Args:
        layer_map: The layers of the adapted model.
        selectors: The user's, by tower.
    """
    joined = dict(selectors)
    adapted = {layer.tower.partition(".")[0] for layer in layer_map if layer.role == "adapter"}
    for tower in layer_map.towers:
        if tower.partition(".")[0] in adapted:
            given = joined.get(tower, ())
            joined[tower] = [*([given] if isinstance(given, int | str) else given), "backbone"]
    return joined


def _adapted(tower: Any, name: str, options: ModelConfig) -> LayerMap:
    backbone: nn.Module = tower.backbone_module
    method = options.peft
    assert method is not None
    chosen = _CHOSEN[method](backbone) if method in _CHOSEN else ()
    layer_map = LayerMap.of(
        backbone, example=tower.layer_example, tower=name, pretrained=bool(tower.pretrained), adapters=chosen
    )
    if not layer_map.confident:
        raise LayerMapError(
            f"model.peft={method!r} needs the layers of the {name} backbone ({type(backbone).__name__}), and they "
            f"could not be found: {'; '.join(layer_map.warnings)}. Set model.peft to null, or choose another "
            f"checkpoint."
        )
    if method in INJECTED:
        candidates = matrices(backbone, layer_map)
        chosen = reachable(tower, candidates)
        if left := [one for one in candidates if one not in chosen]:
            tower.notes += (f"{method}: no adapter in {listing(left, limit=2)}, whose weights are used from outside",)
    if not chosen:
        raise ConfigError(
            f"model.peft={method!r} finds nothing to train in the {name} backbone ({type(backbone).__name__}). "
            f"Choose another of {_OTHERS}, or null to train all of it."
        )
    return layer_map if method in _CHOSEN else _injected(tower, backbone, layer_map, chosen, options)


def _injected(
    tower: Any, backbone: nn.Module, layer_map: LayerMap, candidates: Sequence[str], options: ModelConfig
) -> LayerMap:
    before = dict(backbone.named_parameters())
    if options.peft == "lora":
        adapters = Adapters("lora", tuple(candidates), rank=options.lora_rank, alpha=options.lora_alpha)
    else:
        targets, inputs = ia3_targets(backbone, candidates)
        adapters = Adapters("ia3", targets, inputs)
    inject(backbone, adapters)
    tower.adapters = adapters
    try:
        tower.trial()
    except Exception as error:
        raise ConfigError(
            f"The {layer_map.towers[0]} backbone ({type(backbone).__name__}) does not run with adapters in place of "
            f"its layers ({type(error).__name__}: {first_line(error)}). Set model.peft to 'bitfit' or 'norm', or "
            f"to null."
        ) from error
    return with_injected(layer_map, before, backbone)
