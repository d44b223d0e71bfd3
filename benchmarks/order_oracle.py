"""Judges a layer map by what the forward pass does, knowing nothing of how the map was found.

`trace` runs one forward on the meta device and notes, for every parameter, when it first acts on data and which
parameters that data has already been through. `judge` holds a map against that. Nothing here reads the detector:
a fault of the detector must not be able to hide in its judge.

    model = zoo.timm_model("resnet18", num_classes=10)
    seen = trace(model, zoo.example(model))
    labels = label_dependent(lambda n: zoo.timm_model("resnet18", num_classes=n), model=model)
    print(verdict(LayerMap.of(model), model, seen, labels))
"""

from __future__ import annotations

import itertools
import math
import re
import warnings
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from thermocline.tuning.layers.layer import Layer
from thermocline.tuning.layers.layer_map import LayerMap

aten = torch.ops.aten

# Numbers small enough to be computed for real: positions, lengths, grids and masks steer a forward, weights do not.
REAL_ELEMENTS = 1 << 18

# An operation that changes neither meaning nor order of what passes through it: using a weight starts after these.
COPIES = {
    "aten::_to_copy", "aten::clone", "aten::_unsafe_view", "aten::lift_fresh", "aten::lift_fresh_copy",
    "aten::contiguous", "aten::copy",
}  # fmt: skip

# Makers of tensors that are all alike.
FILLED = {"aten::zeros", "aten::ones", "aten::empty", "aten::full", "aten::randn", "aten::rand"}

LISTS = (nn.ModuleList, nn.ModuleDict, nn.Sequential)

# Repeated modules that together hold less of the model than this are no layers of it.
LEAST_SHARE = 0.01

# Its result says nothing about the values of its inputs, only about their shape.
SHAPE_ONLY = {
    "aten::zeros_like", "aten::ones_like", "aten::empty_like", "aten::full_like", "aten::rand_like",
    "aten::randn_like", "aten::new_zeros", "aten::new_ones", "aten::new_empty", "aten::new_full",
    "aten::new_empty_strided", "aten::randint_like",
}  # fmt: skip


@dataclass
class Trace:
    """What one forward told.

    Attributes:
        names: All parameters, each under its first name, in the model's order.
        used: When each used parameter first acted on data: the number of the operation, and, where several share
            it, the number of the operation that first computed with the parameter at all.
        reads: By parameter, the parameters (as bits, in the order of `names`) that its data had been through.
        partners: By parameter, those it was computed with before either met any data (a query and its projection).
        meetings: By parameter, the numbers of the operations in which it acted on data.
        joined: Those that were put beside data rather than combined with it: class tokens, prompts, queries.
        error: Why the forward did not finish; empty if it did.
    """

    names: tuple[str, ...]
    used: dict[str, tuple[int, int]] = field(default_factory=dict)
    reads: dict[str, int] = field(default_factory=dict)
    partners: dict[str, int] = field(default_factory=dict)
    meetings: dict[str, tuple[int, ...]] = field(default_factory=dict)
    joined: frozenset[str] = frozenset()
    error: str = ""

    @property
    def ran(self) -> bool:
        """Whether the forward finished, so that its order can be trusted."""
        return not self.error

    @cached_property
    def bits(self) -> dict[str, int]:
        """The bit of each parameter."""
        return {name: 1 << place for place, name in enumerate(self.names)}

    def mask(self, names: Iterable[str]) -> int:
        """Return the bits of several parameters."""
        result = 0
        for name in names:
            result |= self.bits[name]
        return result


class Recorder(TorchDispatchMode):
    """Follows data and weights through a forward.

    A tensor is *data* if an input of the model had a say in it, else a *weight* if a parameter had, else constant.
    Storages stand for tensors, so that views and writes into views are followed as well. All storages are held
    until the end, which costs nothing on meta, since an address that is given out twice would mix two tensors up.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.index = 0
        self.kept: dict[int, Any] = {}
        self.data: dict[int, int] = {}
        self.weights: dict[int, int] = {}
        self.of_model: set[int] = set()
        self.touched: dict[int, int] = {}
        self.met: dict[int, tuple[int, int]] = {}
        self.partners: dict[int, int] = {}
        self.meetings: dict[int, list[int]] = defaultdict(list)
        self.joined: set[int] = set()
        self.kinds: dict[Any, str] = {}
        self.seen = self.acted = 0
        self.names = [name for name, _ in model.named_parameters()]
        for place, (_, parameter) in enumerate(model.named_parameters()):
            key = self.key(parameter)
            self.weights[key] = self.weights.get(key, 0) | 1 << place
            self.of_model.add(key)

    def key(self, tensor: torch.Tensor) -> int:
        """Return what identifies a tensor's storage, and hold it."""
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):  # a sparse tensor has none
            self.kept[id(tensor)] = tensor
            return id(tensor)
        found: int = storage._cdata
        if found not in self.kept:
            self.kept[found] = storage
        return found

    def feed(self, inputs: Any) -> None:
        """Mark the model's inputs as data."""
        for tensor in tensors_of((inputs,)):
            self.data[self.key(tensor)] = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        self.index += 1
        kind = self.kinds.get(func)
        if kind is None:
            kind = self.kinds[func] = kind_of(func)
        inputs = tensors_of(args)
        if kwargs:
            inputs += tensors_of(kwargs.values())
        result = compute(func, kind, args, kwargs, inputs)
        if kind != "shape":
            self.note(kind, inputs, result)
        return result

    def note(self, kind: str, inputs: Sequence[torch.Tensor], result: Any) -> None:
        """Record which weights acted on which data in one operation."""
        data, through, weights = False, 0, 0
        for tensor in inputs:
            key = self.key(tensor)
            if key in self.data:
                data, through = True, through | self.data[key]
            else:
                weights |= self.weights.get(key, 0)
        if weights and kind not in ("view", "copy"):
            self.act(weights, through, data=data, join=kind == "join")
        if not data and not weights:
            return
        for tensor in tensors_of((result,)):
            key = self.key(tensor)
            if key in self.of_model:
                continue
            if data:
                self.data[key] = self.data.get(key, 0) | through | weights | self.weights.pop(key, 0)
            elif key in self.data:
                self.data[key] |= weights
            else:
                self.weights[key] = self.weights.get(key, 0) | weights

    def act(self, weights: int, through: int, *, data: bool, join: bool) -> None:
        """Record the first time of each weight, and where it acts on data again."""
        for place in bits_of(weights & ~self.seen):
            self.touched[place] = self.index
        self.seen |= weights
        if not data:
            if weights & (weights - 1) and not join:
                for place in bits_of(weights & ~self.acted):
                    self.partners[place] = self.partners.get(place, 0) | weights & ~(1 << place)
            return
        for place in bits_of(weights & ~self.acted):
            self.met[place] = (self.index, through)
            if join:
                self.joined.add(place)
        self.acted |= weights
        if weights.bit_count() <= 16:
            for place in bits_of(weights):
                if len(self.meetings[place]) < 64:
                    self.meetings[place].append(self.index)

    def trace(self, error: str = "") -> Trace:
        """Return what was recorded."""
        names = self.names
        # a weight that never acts on data has no place in the order: nothing that trains reaches it
        used = {names[place]: (self.met[place][0], when) for place, when in self.touched.items() if place in self.met}
        return Trace(
            names=tuple(names),
            used=used,
            reads={names[place]: through for place, (_, through) in self.met.items()},
            partners={names[place]: others for place, others in self.partners.items()},
            meetings={names[place]: tuple(when) for place, when in self.meetings.items()},
            joined=frozenset(names[place] for place in self.joined),
            error=error,
        )


def bits_of(mask: int) -> Iterator[int]:
    """Yield the places of the bits that are set."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


def tensors_of(values: Iterable[Any]) -> list[torch.Tensor]:
    """Return the tensors among values, those in lists, dicts and output objects included."""
    found: list[torch.Tensor] = []
    for value in values:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, list | tuple):
            found += tensors_of(value)
        elif isinstance(value, dict):
            found += tensors_of(value.values())
    return found


def kind_of(func: Any) -> str:
    """Return `view`, `copy`, `shape`, `join`, `write` or `compute`."""
    schema = func._schema
    if schema.name in SHAPE_ONLY:
        return "shape"
    if schema.name in COPIES:
        return "copy"
    if schema.name in ("aten::cat", "aten::stack"):
        return "join"
    if schema.is_mutable:
        return "write"
    aliases = [returned.alias_info for returned in schema.returns]
    return "view" if aliases and all(alias is not None for alias in aliases) else "compute"


def compute(func: Any, kind: str, args: Any, kwargs: Any, inputs: Sequence[torch.Tensor]) -> Any:
    """Run an operation: for real if all it needs is real, else on meta, answering what meta cannot."""
    if not any(tensor.is_meta for tensor in inputs):
        return compute_real(func, args, kwargs, inputs)
    name = func._schema.name
    if name in ANSWERS:
        return ANSWERS[name](func, args, kwargs)
    if kind == "write" and args[0] is not None and any(not tensor.is_meta for tensor in tensors_of(args[:1])):
        return args[0]  # the values stay plausible; the recorder knows what was written
    if all(tensor.is_meta for tensor in inputs):
        return func(*args, **kwargs)
    return func(*to_meta(args), **to_meta(kwargs))


def compute_real(func: Any, args: Any, kwargs: Any, inputs: Sequence[torch.Tensor]) -> Any:
    """Run an operation on real tensors, and let what would be made on meta be real if it is small."""
    device = kwargs.get("device")
    if device is None or torch.device(device).type != "meta":
        return func(*args, **kwargs)
    if inputs:
        return func(*args, **{**kwargs, "device": "cpu"})
    made = func(*args, **kwargs)
    if made.is_floating_point() and func._schema.name in FILLED:
        return made  # a state to start from, whose device some layers compare with that of their weights
    return func(*args, **{**kwargs, "device": "cpu"}) if made.numel() <= REAL_ELEMENTS else made


def to_meta(value: Any) -> Any:
    """Return a value with every tensor in it on meta."""
    if isinstance(value, torch.Tensor):
        return value if value.is_meta else like_meta(value)
    if isinstance(value, list | tuple):
        return type(value)(to_meta(item) for item in value)
    if isinstance(value, dict):
        return {key: to_meta(item) for key, item in value.items()}
    return torch.device("meta") if isinstance(value, torch.device) else value


def like_meta(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor's shape on meta."""
    return torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device="meta")


def plausible(tensor: torch.Tensor, dtype: torch.dtype | None = None) -> torch.Tensor:
    """Return real ones in a meta tensor's stead."""
    return torch.ones(tensor.shape, dtype=dtype or tensor.dtype, device="cpu")


def answer_item(_func: Any, args: Any, _kwargs: Any) -> Any:
    """A number: one, which is also true."""
    dtype = args[0].dtype
    return True if dtype == torch.bool else 1.0 if dtype.is_floating_point else 1


def answer_copy(func: Any, args: Any, kwargs: Any) -> Any:
    """A cast stays on meta; a copy to the CPU, which is about to be read, becomes real."""
    device = kwargs.get("device")
    if device is not None and torch.device(device).type != "meta" and args[0].numel() <= REAL_ELEMENTS:
        return plausible(args[0], kwargs.get("dtype"))
    return func(*args, **{**kwargs, "device": torch.device("meta")})


def answer_nonzero(_func: Any, args: Any, _kwargs: Any) -> Any:
    """Everything counts as nonzero, so that every expert is called and every token kept."""
    return places(args[0].shape)


def places(shape: Sequence[int]) -> torch.Tensor:
    """Return the indices of all elements of a tensor of this shape, one row each."""
    if not shape:
        return torch.zeros(1, 0, dtype=torch.long, device="cpu")
    if math.prod(shape) > REAL_ELEMENTS:
        return torch.empty(math.prod(shape), len(shape), dtype=torch.long, device="meta")
    return torch.ones(tuple(shape), dtype=torch.bool, device="cpu").nonzero()


def answer_select(_func: Any, args: Any, _kwargs: Any) -> Any:
    """All elements are selected, or those of a mask that is known."""
    source, mask = args[:2]
    count = int(mask.expand(source.shape).sum()) if not mask.is_meta else source.numel()
    return torch.empty(count, dtype=source.dtype, device="meta")


def plain_indices(indices: Sequence[Any]) -> list[Any]:
    """Return indices with masks turned into places, by their true values where these are known."""
    plain: list[Any] = []
    for index in indices:
        if index is not None and index.dtype in (torch.bool, torch.uint8):
            rows = places(index.shape) if index.is_meta else index.nonzero()
            plain += [to_meta(column) for column in rows.unbind(1)]
        else:
            plain.append(to_meta(index))
    return plain


def answer_index(func: Any, args: Any, _kwargs: Any) -> Any:
    """Indexing, masks included."""
    return func(to_meta(args[0]), plain_indices(args[1]))


def answer_put(func: Any, args: Any, _kwargs: Any) -> Any:
    """A write by index: only the shape of its target matters."""
    written = func._schema.name.endswith("_")
    return args[0] if written else torch.empty_like(to_meta(args[0]))


def answer_unique(func: Any, args: Any, _kwargs: Any) -> Any:
    """All values are distinct."""
    source, count = args[0], args[0].numel()
    values = torch.arange(count, device="cpu").to(source.dtype) if count <= REAL_ELEMENTS else source.flatten()
    order = torch.arange(count, device="cpu").reshape(source.shape)
    counts = torch.ones(count, dtype=torch.long, device="cpu")
    return (values, order, counts)[: len(func._schema.returns)]


def answer_count(_func: Any, args: Any, kwargs: Any) -> Any:
    """Every bin holds one."""
    length = args[2] if len(args) > 2 else kwargs.get("minlength", 0)
    return torch.ones(max(int(length), 1), dtype=torch.long, device="cpu")


def answer_repeat(func: Any, args: Any, kwargs: Any) -> Any:
    """Which rows repeat: as told where the numbers are known, else each once."""
    repeats = args[0] if not args[0].is_meta else plausible(args[0])
    return func(repeats, **kwargs)


ANSWERS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "aten::_local_scalar_dense": answer_item,
    "aten::is_nonzero": lambda *_: True,
    "aten::equal": lambda *_: True,
    "aten::allclose": lambda *_: True,
    "aten::_to_copy": answer_copy,
    "aten::nonzero": answer_nonzero,
    "aten::masked_select": answer_select,
    "aten::index": answer_index,
    "aten::index_put": answer_put,
    "aten::index_put_": answer_put,
    "aten::_index_put_impl_": answer_put,
    "aten::_unique": answer_unique,
    "aten::_unique2": answer_unique,
    "aten::unique_dim": answer_unique,
    "aten::unique_consecutive": answer_unique,
    "aten::bincount": answer_count,
    "aten::repeat_interleave": answer_repeat,
}


def trace(model: nn.Module, inputs: Mapping[str, Any] | Sequence[Any]) -> Trace:
    """Run one forward and record when each parameter is first used.

    Args:
        model: On meta, or small and real; it should be in evaluation mode.
        inputs: Keyword or positional arguments. Integers are best real, on the CPU: then what steers the forward
            (positions, lengths, grids) is computed rather than guessed.

    Returns:
        What happened; `error` is set where the forward did not finish.
    """
    recorder = Recorder(model)
    recorder.feed(inputs)
    error = ""
    with warnings.catch_warnings(), torch.no_grad(), recorder:
        warnings.simplefilter("ignore")
        try:
            if isinstance(inputs, Mapping):
                model(**inputs)
            else:
                model(*inputs)
        except Exception as problem:  # a model's forward may fail in any way
            error = f"{type(problem).__name__}: {str(problem)[:300]}"
    return recorder.trace(error)


def label_dependent(build: Callable[[int], nn.Module], labels: int = 10, model: nn.Module | None = None) -> set[str]:
    """Return the parameters whose shape follows the number of labels.

    Args:
        build: Makes the model for a number of labels.
        labels: A number.
        model: What `build(labels)` returned, if the caller has it already.
    """
    one = {name: tuple(p.shape) for name, p in (model or build(labels)).named_parameters()}
    two = {name: tuple(p.shape) for name, p in build(labels + 1).named_parameters()}
    return {name for name, shape in one.items() if two.get(name) != shape}


# --- judging -----------------------------------------------------------------------------------------------------


class Case:
    """A map beside what the forward told: everything the checks ask for.

    Attributes:
        canon: From every name of a parameter to its first one.
        at: From each parameter to its layer.
        base: The parameters of the backbone, without what a task put on top.
    """

    def __init__(self, layer_map: LayerMap, model: nn.Module, seen: Trace, labels: Iterable[str]) -> None:
        self.map, self.model, self.seen = layer_map, model, seen
        first = {id(parameter): name for name, parameter in model.named_parameters()}
        every = model.named_parameters(remove_duplicate=False)
        self.canon = {name: first[id(parameter)] for name, parameter in every}
        self.labels = {self.canon[name] for name in labels}
        self.sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        self.total = sum(self.sizes.values())
        self.at: dict[str, Layer] = {}
        for layer in layer_map.layers:
            for name in layer.parameters:
                if name in self.canon:
                    self.at[self.canon[name]] = layer
        self.base = backbone_names(model, set(seen.names))
        self.detector = is_detector(model)

    def names(self, *roles: str) -> set[str]:
        """Return the parameters in layers of some roles."""
        return {name for name, layer in self.at.items() if layer.role in roles}

    def used(self, layer: Layer) -> list[str]:
        """Return the parameters of a layer that the forward used."""
        known = (self.canon.get(name) for name in layer.parameters)
        return [name for name in known if name is not None and name in self.seen.used]

    def when(self, name: str) -> tuple[int, int]:
        """Return when a parameter was first used."""
        return self.seen.used[name]


def backbone_names(model: nn.Module, names: set[str]) -> set[str]:
    """Return the parameters of a transformers model's base model; all of them for any other model."""
    prefix = getattr(model, "base_model_prefix", "")
    base = getattr(model, prefix, None) if prefix else None
    if not isinstance(base, nn.Module) or base is model:
        # a segmenter on a backbone class has no base model: its decode heads are no backbone
        apart = type(model).__name__.endswith("ForSemanticSegmentation") and hasattr(model, "backbone")
        return {name for name in names if name.startswith("backbone.")} if apart else names
    inside = {name for name in names if name.startswith(prefix + ".")}
    if not is_detector(model):
        return inside
    # a detector's box heads stand in its base model, beside the decoder's layers; these and what is before are trunk
    trunk = re.compile(rf"{prefix}\.((backbone|conv_encoder|encoder|embeddings|layernorm|neck)\.|decoder\.layers\.\d)")
    return {name for name in inside if trunk.match(name)}


def is_detector(model: nn.Module) -> bool:
    """Return whether a transformers model finds objects in images alone; its heads run while other blocks wait."""
    config = getattr(model, "config", None)
    return type(model).__name__.endswith("ForObjectDetection") and getattr(config, "text_config", None) is None


def judge(layer_map: LayerMap, model: nn.Module, seen: Trace, labels: Iterable[str] = ()) -> list[str]:
    """Return the faults of a map; none if it is right.

    Args:
        layer_map: The map.
        model: The model it is of.
        seen: What one forward of it told.
        labels: The parameters whose shape follows the number of labels; none for a model without a head.
    """
    case = Case(layer_map, model, seen, labels)
    faults = [*partition_faults(case), *head_faults(case)]
    if seen.ran:
        faults += [*order_faults(case), *count_faults(case)]
    return faults


def verdict(layer_map: LayerMap, model: nn.Module, seen: Trace, labels: Iterable[str] = ()) -> str:
    """Return `right`, `right (order unchecked)`, `loud` (the map itself says it is a guess) or `silent` (wrong)."""
    if not layer_map.confident:
        return "loud"
    if judge(layer_map, model, seen, labels):
        return "silent"
    return "right" if seen.ran else "right (order unchecked)"


def some(names: Iterable[str], most: int = 3) -> str:
    """Return a short list for a message."""
    listed = sorted(names)
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def partition_faults(case: Case) -> Iterator[str]:
    """Every parameter is in exactly one layer, and aliases are names of the same parameter."""
    counted = Counter(case.canon.get(name, name) for layer in case.map.layers for name in layer.parameters)
    unknown = [name for name in counted if name not in case.canon]
    twice = [name for name, count in counted.items() if count > 1]
    missing = [name for name in case.seen.names if name not in counted]
    for what, names in (("unknown", unknown), ("in several layers", twice), ("in no layer", missing)):
        if names:
            yield f"parameters {what}: {some(names)}"
    wrong = [name for name, to in case.map.aliases.items() if case.canon.get(name, name) != case.canon.get(to)]
    if wrong:
        yield f"aliases of another parameter: {some(wrong)}"


def head_faults(case: Case) -> Iterator[str]:
    """The head holds what depends on the labels, and nothing of the backbone."""
    head = case.names("head")
    outside = case.labels - head - case.names("adapter")
    if outside:
        yield f"label-dependent, not in the head: {some(outside)}"
    extra = head - case.labels
    if not extra:
        return
    if not case.labels and case.base == set(case.seen.names):
        yield f"a head in a model without labels: {some(extra)}"
    elif extra & case.base:
        yield f"backbone in the head: {some(extra & case.base)}"
    elif case.seen.ran and not case.detector:
        early = early_in_head(case, extra)
        if early:
            yield f"in the head, but used before the blocks are done: {some(early)}"


def early_in_head(case: Case, extra: set[str]) -> list[str]:
    """Return what is in the head although blocks that its result goes into start later."""
    blocks = [case.when(name) for name in case.names("block") if name in case.seen.used]
    if not blocks:
        return []
    last = max(blocks)
    return [name for name in extra if name in case.seen.used and case.when(name) < last]


def order_faults(case: Case) -> Iterator[str]:
    """Tower by tower, stem, blocks and necks are used in the order of their depth."""
    for tower in case.map.towers:
        layers = [layer for layer in case.map.of_tower(tower) if layer.role not in ("head", "adapter")]
        layers.sort(key=lambda layer: layer.depth)
        stems = [layer for layer in layers if layer.role == "stem"]
        late = [layer.name for layer in stems if layer.depth > 0]
        if late and len(layers) > len(stems):
            yield f"{tower}: a stem that is not at depth 0: {some(late)}"
        yield from sequence_faults(case, tower, [layer for layer in layers if layer.role != "stem"])
        yield from stem_faults(case, tower, stems, [layer for layer in layers if layer.role == "block"])


def sequence_faults(case: Case, tower: str, layers: Sequence[Layer]) -> Iterator[str]:
    """No layer starts before those of smaller depth have used all they use; necks may overlap with each other."""
    for place, layer in enumerate(layers):
        for before in reversed(layers[:place]):
            parallel = before.depth == layer.depth or (layer.role == "neck" and before.role == "neck")
            first, last = case.used(layer), case.used(before)
            if parallel or not first or not last:
                continue
            start, end = min(first, key=case.when), max(last, key=case.when)
            if case.when(start) <= case.when(end):
                yield (
                    f"{tower}: {layer.name} (depth {layer.depth}) starts before {before.name} (depth "
                    f"{before.depth}) is done: {start} at {case.when(start)}, {end} at {case.when(end)}"
                )
            break


def stem_faults(case: Case, tower: str, stems: Sequence[Layer], blocks: Sequence[Layer]) -> Iterator[str]:
    """What is in the stem is used before all blocks, or reads what no block touched, or serves several blocks."""
    starts = sorted(min(map(case.when, used)) for used in map(case.used, blocks) if used)
    if not starts:
        return
    of_blocks = case.seen.mask(name for block in blocks for name in case.used(block))
    of_others = case.seen.mask(case.at.keys() - case.names("stem"))
    late = [name for stem in stems for name in case.used(stem) if case.when(name) > starts[0]]
    wrong = [name for name in late if not may_be_late(case, name, of_blocks, of_others, starts)]
    if wrong:
        yield f"{tower}: in the stem, but used within or after blocks: {some(wrong)}"


def may_be_late(case: Case, name: str, of_blocks: int, of_others: int, starts: Sequence[tuple[int, int]]) -> bool:
    """Whether a parameter used after the first block started is an input of the blocks all the same."""
    if name in case.seen.joined or not case.seen.reads.get(name, 0) & of_blocks:
        return True
    if isinstance(case.model.get_submodule(name.rpartition(".")[0]), nn.Embedding):  # looked up, then added to data
        return True
    if case.seen.partners.get(name, 0) & of_others:  # a learned query: the first weights it meets are a layer's
        return True
    within = {sum(start[0] <= when for start in starts) for when in case.seen.meetings.get(name, ())}
    return len(within) > 1


def count_faults(case: Case) -> Iterator[str]:
    """Repeated modules that run one after another share no layer, and stand in no stem or head."""
    members = [(path, names) for path, names in chained(case.model, case) if case.base.issuperset(names)]
    holders: dict[str, list[str]] = defaultdict(list)
    counted: set[str] = set()
    for path, names in members:
        own = [case.at[name] for name in names if name in case.at and name not in counted]
        counted.update(names)  # shared weights are one block however often they run
        roles = sorted({layer.role for layer in own} & {"stem", "head"})
        if roles:
            yield f"{path} repeats, and is in the {' and the '.join(roles)} at least in part"
        for label in {layer.label for layer in own if layer.role not in ("stem", "head", "adapter")}:
            holders[label].append(path)
    for label, paths in holders.items():
        if len(paths) > 1:
            yield f"{label} holds {len(paths)} repeated modules that run one after another: {some(paths)}"


def chained(module: nn.Module, case: Case, prefix: str = "") -> list[tuple[str, list[str]]]:
    """Return repeated sibling modules that run one after another, each with its parameters.

    Siblings of which two are equal in shape are blocks, and nothing is sought within them. Unequal siblings (the
    stages of a pyramid) are searched within, and count themselves where nothing is found there. Branches and
    experts, which do not feed each other, are one thing.
    """
    siblings = repeated(module, case, prefix, LEAST_SHARE)
    children = dict(module.named_children())
    names = [name for name, _ in siblings]
    if siblings and not feed_each_other([mine for _, mine in siblings], case.seen):
        return []
    blocks = len(names) == 1 or len({shapes_of(children[name]) for name in names}) < len(names)
    found: list[tuple[str, list[str]]] = []
    for name, mine in siblings:
        inner = [] if blocks else within(children[name], case, f"{prefix}{name}.")
        found += inner if len(inner) > 1 else [(f"{prefix}{name}", mine)]
    rest = [(name, child) for name, child in children.items() if name not in names]
    return found + apart([chained(child, case, f"{prefix}{name}.") for name, child in rest], case)


def apart(chains: Sequence[list[tuple[str, list[str]]]], case: Case) -> list[tuple[str, list[str]]]:
    """Return the members of chains that do not overlap in time, the longest first.

    Some models keep the attentions of all blocks in one list and what follows each of them in another.
    """
    found: list[tuple[str, list[str]]] = []
    spans: list[tuple[tuple[int, int], tuple[int, int]]] = []
    for chain in sorted(filter(None, chains), key=len, reverse=True):
        times = [case.when(name) for _, used in chain for name in used]
        start, end = min(times), max(times)
        if all(end < first or last < start for first, last in spans):
            spans.append((start, end))
            found += chain
    return found


def within(stage: nn.Module, case: Case, prefix: str) -> list[tuple[str, list[str]]]:
    """Return the blocks of a stage: its heaviest chain, for what else repeats in it (a downsampling) is no block."""
    lists = [(prefix, stage), *((f"{prefix}{name}.", child) for name, child in stage.named_children())]
    chains = [
        [(f"{path}{name}", mine) for name, mine in repeated(module, case, path, 0.0)]
        for path, module in lists
        if isinstance(module, LISTS)
    ]
    chains = [chain for chain in chains if feed_each_other([mine for _, mine in chain], case.seen)]
    return max(chains, key=lambda chain: sum(case.sizes[key] for _, used in chain for key in used), default=[])


def shapes_of(module: nn.Module) -> tuple[tuple[str, torch.Size], ...]:
    """Return what makes two modules equal."""
    return tuple((name, parameter.shape) for name, parameter in module.named_parameters())


def repeated(module: nn.Module, case: Case, prefix: str, share: float) -> list[tuple[str, list[str]]]:
    """Return the children of the most frequent class with two matrices or more, each with its used parameters."""
    by_class: dict[type, list[tuple[str, list[str]]]] = defaultdict(list)
    for name, child in module.named_children():
        inside = {case.canon[f"{prefix}{name}.{key}"]: weight for key, weight in child.named_parameters()}
        used = [key for key in inside if key in case.seen.used]
        numbered = isinstance(module, LISTS) and all(key.isdigit() for key in module._modules)
        plain = isinstance(child, LISTS) and not numbered  # `Sequential` says nothing of a likeness
        leaf = next(child.children(), None) is None  # one convolution may hold several matrices and is no block
        if not plain and not leaf and sum(is_matrix(inside[key]) for key in used) >= 2:
            by_class[type(child)].append((name, used))
    members = max(by_class.values(), key=len, default=[])
    least = 1 if isinstance(module, nn.ModuleList) else 2 if isinstance(module, LISTS) else 4
    weight = sum(case.sizes[key] for _, used in members for key in used)
    return members if len(members) >= least and weight >= share * case.total else []


def is_matrix(weight: torch.Tensor) -> bool:
    """Whether a weight mixes channels; a gain of shape (channels, 1, 1, 1) does not."""
    return sum(size > 1 for size in weight.shape) >= 2


def feed_each_other(members: Sequence[list[str]], seen: Trace) -> bool:
    """Whether each module first reads data that its predecessor has touched; experts and branches do not."""
    for before, after in itertools.pairwise(members):
        own = seen.mask(after)
        first = min(after, key=seen.used.__getitem__)
        reads = seen.reads.get(first, 0) | seen.partners.get(first, 0)
        if not reads & ~own & seen.mask(before):
            return False
    return True
