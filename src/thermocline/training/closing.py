"""The end of training: the best state or a soup is restored, and the problem settles what follows from it."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from safetensors.torch import save_file

from thermocline.contracts.closing import Closing, Settled
from thermocline.training import best_states
from thermocline.training.all_rows import train_on_all
from thermocline.training.history import KEPT
from thermocline.training.state import TrainingState
from thermocline.training.writing import size_of, told_unwritable


def close(trainer: TrainingState) -> Settled:
    """Choose among the best states, leave the model in the choice, say which it is, and return what is settled."""
    trainer.model.eval()
    if trainer.best.best is None:  # interrupted before step 0 was scored
        return _settled(trainer, {}, None, {})
    state, values, said = _chosen(trainer)
    best_states.restore(trainer.model, state)
    outputs = state.get(best_states.OUTPUTS)
    if trainer.run.storage.kept is not None:
        _save_kept(state, trainer.run.storage.kept)
    at_start = trainer.best.best.step == 0
    if at_start:
        tuned = any(row["step"] > 0 and not math.isnan(row["train_loss"]) for row in trainer.record.rows)
        said = f"step 0, {trainer.start}" + (": tuning validated worse" if tuned else "")
    settled = _settled(trainer, values, None if outputs is None else outputs.numpy(), state)
    for note in settled.notes:
        trainer.record.note(note)
    said += settled.kept
    scores = trainer.scorer.decisive(settled.scores)
    if not scores:
        said += trainer.scorer.unvalidated()
    trainer.record.add(trainer.record.step, {"note": f"{KEPT}{said}", **scores})
    return settled


def _save_kept(state: best_states.State, file: Path) -> None:
    """Write the state that is kept.

    Raises:
        OutputWriteError: It cannot be written.
    """
    kept = {name: one for name, one in state.items() if name != best_states.OUTPUTS}
    with told_unwritable(
        file, size_of(kept), "These are the weights of a fit that is compared with others: free space."
    ):
        save_file(kept, str(file))


def _chosen(trainer: TrainingState) -> tuple[best_states.State, dict[str, float], str]:
    """Return the state to keep, its scores by metric, and which one it is."""

    def evaluate(state: best_states.State) -> best_states.Scored:
        best_states.restore(trainer.model, state)
        score, values = trainer.scorer.score()
        return best_states.Scored(score, trainer.scorer.outputs, values)

    def in_time() -> bool:
        return trainer.run.time_limit.allows(2 * trainer.scorer.seconds)

    try:
        state, scored, said = trainer.best.choose(trainer.run.optim.top_k_average, evaluate, in_time)
    except KeyboardInterrupt:
        state, scored, said = trainer.best.choose("best", evaluate, in_time)
    assert trainer.best.best is not None
    values = dict(scored.metrics) or trainer.record.scores_at(trainer.best.best.step)
    return state, values, said


def _settled(
    trainer: TrainingState, scores: dict[str, float], outputs: np.ndarray | None, state: best_states.State
) -> Settled:
    """Return what the problem settles; after Ctrl-C, as where no time is left, of the state that is kept."""
    run, limit = trainer.run, trainer.run.time_limit
    best = trainer.best.best

    def closing(*, in_time: bool) -> Closing:
        return Closing(
            rows={"train": run.train, "valid": run.valid},
            scores=scores,
            valid_outputs=outputs,
            at_start=best is not None and best.step == 0,
            collect=trainer.scorer.collect,
            train_on_all=lambda epochs: in_time and train_on_all(trainer, epochs),
            seconds_left=(lambda: limit.left) if in_time else (lambda: 0.0),
            seed=run.seed,
        )

    problem = run.assembly.problem
    try:
        return problem.settled(run.assembly, closing(in_time=best is not None and not trainer.interrupted))
    except KeyboardInterrupt:
        best_states.restore(trainer.model, state)
        return problem.settled(run.assembly, closing(in_time=False))
