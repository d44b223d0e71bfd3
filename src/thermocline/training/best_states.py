"""The k best states of a run, on disk, and their average."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from thermocline.contracts.learning import Judged
from thermocline.errors import OutputWriteError
from thermocline.training.writing import size_of, told_unwritable
from thermocline.tuning.apply import frozen_modules
from thermocline.tuning.layers.layer_map import LayerMap

State = dict[str, torch.Tensor]

OUTPUTS = "outputs on the validation rows"
"""Beside the weights in a state: what they gave, where that is an array."""


def frozen_tensor_names(model: nn.Module, layer_map: LayerMap, labels: Iterable[str]) -> frozenset[str]:
    """Return the names of the parameters and buffers of layers, which stay as they are while these are frozen."""
    labels = tuple(labels)
    names = {name for label in labels for name in layer_map[label].parameters}
    modules = dict(model.named_modules())
    for module in frozen_modules(model, layer_map, labels):
        names |= {f"{module}.{key}" for key, _ in modules[module].named_buffers(recurse=False)}
    return frozenset(names)


def tuned_state(model: nn.Module, frozen: frozenset[str]) -> State:
    """Return copies on the CPU of everything training may change: parameters and buffers not in `frozen`."""
    state = {}
    seen: set[tuple[object, ...]] = set()
    for name, tensor in model.state_dict().items():
        place = (tensor.data_ptr(), tensor.shape, tensor.stride())
        if name in frozen or (place in seen and tensor.numel()):  # tied: once is enough
            continue
        seen.add(place)
        state[name] = tensor.detach().to("cpu", copy=True).contiguous()
    return state


def restore(model: nn.Module, state: Mapping[str, torch.Tensor]) -> None:
    """Copy a state into a model, in place."""
    own = model.state_dict()
    with torch.no_grad():
        for name, tensor in state.items():
            if name != OUTPUTS:
                own[name].copy_(tensor)


def outputs_of(outputs: np.ndarray | None) -> State:
    """Return outputs on the validation rows as a part of a state, which is empty where they are none."""
    return {} if outputs is None else {OUTPUTS: torch.from_numpy(np.ascontiguousarray(outputs))}


def _outputs_in(file: Path) -> np.ndarray | None:
    """Read the outputs that lie beside the weights in a file, and nothing else of it."""
    with safe_open(str(file), "np") as tensors:
        return np.asarray(tensors.get_tensor(OUTPUTS)) if OUTPUTS in tensors.keys() else None  # noqa: SIM118


@dataclass(frozen=True)
class BestState:
    """A state on disk: its step, its score (higher is better), its file, and what it is worth beside the score."""

    step: int
    score: float
    file: Path
    judged: Judged | None = None


@dataclass(frozen=True)
class Scored:
    """What a state was scored with.

    Attributes:
        score: Higher is better.
        outputs: Its outputs on the validation rows, or None where these are no array.
        metrics: What else was scored, by metric.
    """

    score: float
    outputs: np.ndarray | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


class BestStates:
    """Keeps the k best states of a run as safetensors files.

    Args:
        folder: Where they lie; made if needed.
        top_k: How many are kept.
        judge: Of outputs on the validation rows, what they are worth; see `ranked`.
    """

    def __init__(self, folder: Path, top_k: int, judge: Callable[[np.ndarray], Judged] | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.top_k = top_k
        self.judge = judge
        self.kept: list[BestState] = []

    def offer(self, step: int, scored: Scored, take: Callable[[], State]) -> bool:
        """Keep a state if it is among the best; among equals the later one counts as better.

        Returns:
            Whether it is now the best.

        Raises:
            OutputWriteError: It cannot be written.
        """
        file = self.folder / f"step-{step}.safetensors"
        order = ranked([*self.kept, BestState(step, scored.score, file, self._judged(scored.outputs))])
        stays, goes = order[: self.top_k], order[self.top_k :]
        first = min(order, key=_rank)
        if first in goes and self.top_k > 1:  # what all are compared with stays
            goes = [*(one for one in goes if one is not first), stays[-1]]
            stays = [*stays[:-1], first]
        if any(k.step == step for k in stays):
            self._save({**take(), **outputs_of(scored.outputs)}, file, step)
        self.kept = stays  # before files go: what is remembered lies on the disk at every moment
        for old in goes:
            if old.step != step:
                old.file.unlink(missing_ok=True)
        return stays[0].step == step

    def _judged(self, outputs: np.ndarray | None) -> Judged | None:
        return None if outputs is None or self.judge is None else self.judge(outputs)

    def _save(self, state: State, file: Path, step: int) -> None:
        advice = (
            f"These are the weights of step {step}, among the best so far, so training ends here. Checkpoints that "
            "were written stay: free space, and resume=True (--resume) goes on from the newest."
        )
        try:
            with told_unwritable(file, size_of(state), advice):
                save_file(state, str(file))
        except OutputWriteError:
            file.unlink(missing_ok=True)  # half of it
            raise

    def adopt(self, scores: Mapping[int, float]) -> None:
        """Take the files that lie in the folder for the best states so far: step → score, best first."""
        self.kept = []
        for step, score in scores.items():
            one = BestState(step, score, self.folder / f"step-{step}.safetensors")
            outputs = None if self.judge is None else _outputs_in(one.file)
            self.kept.append(replace(one, judged=self._judged(outputs)))

    @property
    def best(self) -> BestState | None:
        """The best so far."""
        return self.kept[0] if self.kept else None

    def load(self, kept: BestState) -> State:
        """Read a kept state."""
        state: State = load_file(str(kept.file))
        return state

    def choose(
        self, how: str, evaluate: Callable[[State], Scored], in_time: Callable[[], bool]
    ) -> tuple[State, Scored, str]:
        """Return the state that the model gets in the end, what an average was scored with, and which one it is.

        `uniform_soup` averages all kept states, `greedy_soup` adds them from the best down where the score does not
        drop (Wortsman et al., ICML 2022). Step 0, the probe, is never an ingredient. No soup is handed out that
        is worse than the best state; where a judge decides, as it does.

        Args:
            how: `best`, `uniform_soup` or `greedy_soup`.
            evaluate: Scores a state on the validation rows.
            in_time: False when time is up; the best state is then taken as it is.
        """
        best = self.kept[0]
        state, scored, said = self.load(best), Scored(best.score), f"step {best.step}"
        others = [k for k in self.kept[1:] if k.step > 0]
        if how == "best" or best.step == 0 or not others or not in_time():
            return state, scored, said
        if how == "uniform_soup":
            soup, given, trial = self._soup([state, *(self.load(k) for k in others)], best, evaluate)
            names = f"average of steps {sorted(k.step for k in [best, *others])}"
            return (soup, given, names) if _at_least(trial, best) else (state, scored, said)
        ingredients, steps = [state], [best.step]
        for other in others:
            if not in_time():
                break
            soup, given, trial = self._soup([*ingredients, self.load(other)], best, evaluate)
            if _at_least(trial, best):
                ingredients.append(self.load(other))
                steps.append(other.step)
                state, scored, best = soup, given, trial
        return state, scored, said if len(steps) == 1 else f"average of steps {sorted(steps)}"

    def _soup(
        self, states: list[State], like: BestState, evaluate: Callable[[State], Scored]
    ) -> tuple[State, Scored, BestState]:
        soup = average(states)
        scored = evaluate(soup)
        trial = replace(like, score=scored.score, judged=self._judged(scored.outputs))
        return {**soup, **outputs_of(scored.outputs)}, scored, trial


def ranked(states: list[BestState]) -> list[BestState]:
    """Return states, the best first.

    Those whose score is within a standard error of the best score are ordered by their loss: with few validation rows
    the best of many scores is one of chance, most of all where it is an accuracy. Those behind follow by their score.
    Without a judge, or where the metric is not defined, the score alone decides; among equals the later one is better.
    """
    by_score = sorted(states, key=_rank)
    first = by_score[0].judged
    if first is None or any(one.judged is None or not np.isfinite(one.judged.parts).all() for one in states):
        return by_score

    def place(one: BestState) -> tuple[bool, float, int]:
        assert one.judged is not None
        behind = one.judged.clearly_behind(first)
        return behind, 0.0 if behind else one.judged.loss, 0 if behind else -one.step

    return sorted(by_score, key=place)  # those behind stay in the order of their scores


def _at_least(trial: BestState, best: BestState) -> bool:
    """Whether a soup is no worse than what it would take the place of."""
    if trial.judged is None or best.judged is None or not np.isfinite([*trial.judged.parts, *best.judged.parts]).all():
        return trial.score >= best.score
    return ranked([best, replace(trial, step=best.step + 1)])[0].step != best.step


def average(states: list[State]) -> State:
    """Average floating-point tensors of like-named states; others are the first state's."""
    first = states[0]
    return {
        name: torch.stack([s[name].double() for s in states]).mean(dim=0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in first.items()
        if name != OUTPUTS
    }


def average_over(model: nn.Module, states: Sequence[Mapping[str, torch.Tensor]]) -> State:
    """Average states of several runs from the same start: what one run kept frozen is as it is in the model."""
    own = model.state_dict()
    names = [name for name in own if any(name in state for state in states)]
    return average([{name: state[name] if name in state else own[name].cpu() for name in names} for state in states])


def _rank(kept: BestState) -> tuple[float, int]:
    return (-kept.score if kept.score == kept.score else float("inf"), -kept.step)
