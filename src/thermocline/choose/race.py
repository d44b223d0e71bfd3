"""A race: the fit as it was asked for, and other ways to train, of which ever fewer are trained ever longer.

Successive halving (Jamieson and Talwalkar, AISTATS 2016) of a fixed portfolio (auto-sklearn 2.0, Feurer et al., JMLR
2022). Short fits have a constant rate and are scored with a moving average of the weights, so that a longer one
continues them exactly.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from thermocline.choose.folder import SearchFolder
from thermocline.choose.leaderboard import WHOLE
from thermocline.choose.paired import mean_loss
from thermocline.choose.portfolio import Entrant, entrants
from thermocline.choose.race_state import RaceState, Result
from thermocline.contracts.request import Request
from thermocline.errors import (
    OutputExistsError,
    OutputInUseError,
    OutputWriteError,
    ThermoclineError,
    first_line,
)
from thermocline.pipeline import artifact
from thermocline.pipeline.fit import Among, fit
from thermocline.pipeline.fitted import Fitted
from thermocline.pipeline.places import remove_checkpoints
from thermocline.pipeline.prepare import Prepared
from thermocline.pipeline.saved_folder import writing_to
from thermocline.report.console import Console
from thermocline.training.time_limit import TimeLimit

ASKED = Entrant(1, "as asked")
SHARES = ("1/9", "1/3")
GO_ON = 3  # one of so many is trained longer
MARGIN = 1.1  # of the time that a further fit may take more than the same did before
LEAST_STEPS = 50
"""A short fit takes: at 18 steps on 500 images and on 1,000 short texts the probe was ahead of every arm."""
MOST_WHOLE = 2  # of the others are trained in full where there are no short fits
SHORTEST = 0.6  # of its seconds are enough for a whole fit, whose schedule is made for the time
OF_AN_ARM = (ThermoclineError, MemoryError, torch.OutOfMemoryError)
OF_ALL = (OutputExistsError, OutputInUseError, OutputWriteError)
"""Errors that are of the place where all fits are kept."""


class Race:
    """Carries the fits of a race out, each an ordinary fit in a folder of its own.

    Args:
        request: The fit as it was asked for.
        prepared: Its data.
        folder: Where fits are saved.
        state: What was done before.
        limit: The time.
    """

    def __init__(
        self, request: Request, prepared: Prepared, folder: SearchFolder, state: RaceState, limit: TimeLimit
    ) -> None:
        self.request, self.prepared, self.folder, self.state, self.limit = request, prepared, folder, state, limit
        self.console = Console(request.verbosity)
        self.metric = prepared.target.eval_metric
        self.interrupted = False

    def run(self) -> None:
        """Carry the fits out, as far as the time allows; Ctrl-C ends them."""
        try:
            asked = self.state.result(1, WHOLE) or self._whole(ASKED)
            taking_part = self.state.entrants
            if asked is None or taking_part is None:
                return
            whole = [one for one in self._best_of(taking_part, asked) if self._whole_of(one, asked)]
            alike = [one for one in whole if not one.options.get("model.peft")]  # their weights can be averaged
            if alike and not self.interrupted:
                self._average(min(alike, key=self._loss), asked)
        except KeyboardInterrupt:
            self.interrupted = True

    @property
    def average_number(self) -> int:
        """The number of the average of two fits."""
        return 2 + len(self.state.entrants or ())

    # -- the fit as it was asked for, and others of its length

    def _whole(self, entrant: Entrant) -> Result | None:
        """Carry out a fit of all steps, and save it; None where Ctrl-C ended it."""
        path, begin = self.folder.trial(entrant.number), self.limit.elapsed
        self.console.say(f"{entrant.name}: all steps{_shown(entrant)}")
        fitted = fit(self._request_of(entrant, path), Among(self.prepared, kept=self._kept(entrant.number)))
        with writing_to(path):
            artifact.save(fitted, path, overwrite=True)
        if not fitted.ended:
            self.interrupted = True
            return None
        if entrant is ASKED:
            self._decide(fitted, self.limit.elapsed - begin)
        result = self._result(entrant.number, WHOLE, fitted, begin)
        self.state.put(result, fitted.losses)
        remove_checkpoints(path, fitted.identity)
        self.console.say(f"{entrant.name}: {self._told(result)}")
        return result

    def _whole_of(self, entrant: Entrant, asked: Result) -> bool:
        """Carry out the fit of the best of the others; say whether it came to its end."""
        if self.state.result(entrant.number, WHOLE) is not None:
            return True
        if not self._in_time(SHORTEST * _seconds(entrant, asked.seconds, asked.short_seconds)):
            self.console.say(f"{entrant.name}: no time for all steps")
            return False
        self._discard_short(entrant)
        return self._tried(entrant, lambda: self._whole(entrant)) is not None

    def _decide(self, asked: Fitted, seconds: float) -> None:
        """Choose who takes part: as many as the time allows."""
        if asked.losses is None:
            self.state.decide((), asked.assembly.config)
            return
        most, fixed = asked.assembly.config.optim.arms - 1, _fixed_seconds(asked, seconds)
        found = list(entrants(asked.assembly))[:most]
        reached = found[: most if _shares(asked.steps) else MOST_WHOLE]
        reached = [one for one in reached if SHORTEST * _seconds(one, seconds, fixed) <= self.limit.left]
        times = [_needed(reached[:n], asked.steps, seconds, fixed) for n in range(len(reached) + 1)]
        count = max(n for n, needed in enumerate(times) if n == 0 or MARGIN * needed <= self.limit.left)
        self.state.decide(reached[:count], asked.assembly.config)
        names = ", ".join(one.name for one in reached[:count]) or "no other"
        self.console.say(f"compared with it: {names}")

    # -- short fits

    def _best_of(self, taking_part: Sequence[Entrant], asked: Result) -> list[Entrant]:
        """Return which of the others are to be trained in full: after short fits the best, without any all."""
        left, shares = list(taking_part), _shares(asked.steps)
        for share in shares:
            if len(left) <= 1:
                break
            done = [one for one in left if self._short(one, share, asked)]
            done.sort(key=lambda one: mean_loss(self.state.losses(one.number, share)))
            left = done[: 1 if share == shares[-1] else -(-len(left) // GO_ON)]
            for one in done[len(left) :]:
                self._discard_short(one)
        return left

    def _short(self, entrant: Entrant, share: str, asked: Result) -> bool:
        """Train a share of the steps, and say whether that came to an end."""
        found = self.state.result(entrant.number, share)
        if found is not None:
            return not found.failed
        if not self._in_time(SHORTEST * _seconds(entrant, asked.seconds, asked.short_seconds)):
            return False
        return self._tried(entrant, lambda: self._trained(entrant, share, asked.steps)) is not None

    def _trained(self, entrant: Entrant, share: str, steps: int) -> Result | None:
        begin, path = self.limit.elapsed, self._short_path(entrant)
        request = replace(self._request_of(entrant, path, short=_short_options(share, steps)), time_limit=None)
        fitted = fit(request, Among(self.prepared))
        if not fitted.ended:
            self.interrupted = True
            raise KeyboardInterrupt
        result = self._result(entrant.number, share, fitted, begin)
        self.state.put(result, fitted.losses)
        self.console.say(f"{entrant.name}, {share} of the steps: {self._told(result)}")
        return result

    # -- the average of two fits

    def _average(self, best: Entrant, asked: Result) -> None:
        """Finish a model whose weights are the mean of two fits' (model soups, Wortsman et al., ICML 2022)."""
        number = self.average_number
        if self.state.result(number, WHOLE) is not None or not self._in_time(asked.short_seconds):
            return
        entrant = Entrant(number, f"average of {ASKED.name!r} and {best.name!r}")
        states = [load_file(str(self._kept(one.number))) for one in (ASKED, best)]
        path, begin = self.folder.trial(number), self.limit.elapsed

        def finished() -> Result:
            chosen = {"env.loggers": ((), "nothing is trained")}
            request = replace(self._request_of(entrant, None), chosen=chosen, resume=False, callbacks=())
            fitted = fit(request, Among(self.prepared, states=states))
            with writing_to(path):
                artifact.save(fitted, path, overwrite=True)
            result = self._result(number, WHOLE, fitted, begin)
            self.state.put(result, fitted.losses)
            self.console.say(f"{entrant.name}: {self._told(result)}")
            return result

        self._tried(entrant, finished)

    # -- parts of these

    def _tried(self, entrant: Entrant, call: Any) -> Any:
        """Return what a call returns; None where an error of this entrant's ends it, which is kept."""
        begin = self.limit.elapsed
        try:
            return call()
        except OF_ALL:
            raise
        except OF_AN_ARM as error:
            why = f"{type(error).__name__}: {first_line(error)}"
            for share in (*SHARES, WHOLE):
                if self.state.result(entrant.number, share) is None:
                    self.state.put(Result(entrant.number, share, None, self.limit.elapsed - begin, failed=why), None)
                    break
            self._discard_short(entrant)
            self.folder.discard(entrant.number)
            self.console.say(f"{entrant.name} failed: {why}")
            return None

    def _request_of(self, entrant: Entrant, path: Path | None, *, short: dict[str, Any] | None = None) -> Request:
        asked, why = self.request, f"arm {entrant.name!r}"
        options = {key: (value, why) for key, value in entrant.options.items()}
        options |= {key: (value, "a short fit of a race") for key, value in (short or {}).items()}
        return replace(
            asked,
            chosen={**asked.chosen, **options},
            path=path,
            time_limit=None if self.limit.seconds is None else max(self._left_for(entrant), 1e-3),
            began=None,
            resume=path is not None and path.with_name(f"{path.name}-checkpoints").is_dir(),
            verbosity=asked.verbosity if entrant is ASKED else max(0, asked.verbosity - 1),
        )

    def _result(self, number: int, share: str, fitted: Fitted, begin: float) -> Result:
        seconds = self.limit.elapsed - begin
        score = fitted.history.kept_scores.get(self.metric)
        return Result(number, share, score, seconds, _fixed_seconds(fitted, seconds), fitted.steps)

    def _left_for(self, entrant: Entrant) -> float:
        """Return the seconds for an entrant: from the others' some are kept for the average."""
        asked = self.state.result(ASKED.number, WHOLE)
        return self.limit.left - (MARGIN * asked.short_seconds if asked is not None and entrant.options else 0.0)

    def _in_time(self, seconds: float) -> bool:
        return self.limit.left >= MARGIN * seconds

    def _short_path(self, entrant: Entrant) -> Path:
        return self.folder.root / f"short-{entrant.number:04d}"

    def _discard_short(self, entrant: Entrant) -> None:
        path = self._short_path(entrant)
        shutil.rmtree(path.with_name(f"{path.name}-checkpoints"), ignore_errors=True)

    def _loss(self, entrant: Entrant) -> float:
        return mean_loss(self.state.losses(entrant.number, WHOLE))

    def _kept(self, number: int) -> Path:
        return self.folder.root / f"kept-{number}.safetensors"

    def _told(self, result: Result) -> str:
        score = "no score" if result.score is None else f"{self.metric} {result.score:.4f}"
        loss = mean_loss(self.state.losses(result.number, result.share))
        return f"{score}, loss {loss:.4f} ({result.seconds:.0f} s)"


def _short_options(share: str, steps: int) -> dict[str, Any]:
    """Return the options of a short fit: a constant rate, averaged weights, and nothing beside the network."""
    first = max(1, round(steps * Fraction(SHARES[0])))
    return {
        "optim.max_steps": max(first, round(steps * Fraction(share))),
        "optim.lr_schedule": "constant",
        "optim.warmup": 0.0,
        "optim.ema": 1 - 1 / max(2.0, first / 3),
        "optim.val_check_interval": 1e6,
        "optim.top_k_average": "best",
        "optim.refit": "off",
        "model.trees": "off",
        "model.tfidf": "off",
        "env.checkpoint_every": first,
        "env.loggers": (),
    }


def _fixed_seconds(fitted: Fitted, seconds: float) -> float:
    """Return the seconds of a fit that took `seconds` which do not grow with its steps."""
    trained = fitted.history.to_frame()[["step", "seconds"]]
    start = trained.loc[trained["step"] == 0, "seconds"]
    steps = trained["seconds"].max() - (start.max() if len(start) else 0.0)
    return max(0.0, seconds - float(steps))


def _seconds(entrant: Entrant, seconds: float, fixed: float) -> float:
    """Return what a whole fit of an entrant takes, where the fit as it was asked for took `seconds`."""
    return fixed + entrant.length * (seconds - fixed)


def _shares(steps: int) -> list[str]:
    """Return the shares of so many steps that short fits take."""
    return [share for share in SHARES if steps * Fraction(share) >= LEAST_STEPS]


def _needed(taking_part: Sequence[Entrant], steps: int, seconds: float, fixed: float) -> float:
    """Return the seconds that others need, where the fit as it was asked for took `seconds`.

    Args:
        taking_part: The others.
        steps: Of the fit as it was asked for.
        seconds: What it took.
        fixed: Those of them that do not grow with its steps.
    """
    wholes = [_seconds(one, seconds, fixed) for one in taking_part]
    shares = _shares(steps)
    if len(wholes) <= 1:
        return SHORTEST * sum(wholes)
    if not shares:
        return sum(wholes)
    total, before, count = SHORTEST * max(wholes), 0.0, len(wholes)
    for share in map(Fraction, shares):
        if count <= 1:
            break
        total += count * (fixed + (float(share) - before) * (seconds - fixed))
        count, before = -(-count // GO_ON), float(share)
    return total


def _shown(entrant: Entrant) -> str:
    return "".join(f", {path}={value}" for path, value in entrant.options.items())
