"""A race: the fit as it was asked for, and other ways to train, of which ever fewer are trained ever longer.

Successive halving (Jamieson and Talwalkar, AISTATS 2016) of a fixed portfolio (auto-sklearn 2.0, Feurer et al., JMLR
2022). Short fits have a constant rate and are scored with a moving average of the weights, so that a longer one
continues them exactly.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
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
from thermocline.choose.race_times import GO_ON, MARGIN, SHARES, SHORTEST, Times, shares_of
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
MOST_WHOLE = 2  # of the others are trained in full where there are no short fits
SLOW = 3.0  # times what a short fit was expected to take, after which it is given up
OF_AN_ARM = (ThermoclineError, MemoryError, TimeoutError, torch.OutOfMemoryError)
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
            asked = self.state.result(ASKED.number, WHOLE) or self._whole(ASKED)
            whole = [one for one in self._best_of(self.state.entrants or (), asked) if self._whole_of(one, asked)]
            alike = [one for one in whole if not one.options.get("model.peft")]  # their weights can be averaged
            if alike:
                self._average(min(alike, key=self._loss), asked)
        except KeyboardInterrupt:
            self.interrupted = True

    @property
    def average_number(self) -> int:
        """The number of the average of two fits."""
        return 1 + max((one.number for one in self.state.entrants or ()), default=ASKED.number)

    # -- the fit as it was asked for, and others of its length

    def _whole(self, entrant: Entrant) -> Result:
        """Carry out a fit of all steps, and save it, after Ctrl-C too."""
        path, begin = self.folder.trial(entrant.number), self.limit.elapsed
        self.console.say(f"{entrant.name}: all steps{_shown(entrant)}")
        fitted = fit(self._request_of(entrant, path), Among(self.prepared, kept=self._kept(entrant.number)))
        with writing_to(path):
            artifact.save(fitted, path, overwrite=True)
        if not fitted.ended:
            raise KeyboardInterrupt
        if entrant is ASKED:
            self._decide(fitted, Times.of(fitted, self.limit.elapsed - begin))
        result = self._keep(entrant, WHOLE, fitted, begin)
        remove_checkpoints(path, fitted.identity)
        return result

    def _whole_of(self, entrant: Entrant, asked: Result) -> bool:
        """Carry out the fit of the best of the others; say whether it came to its end."""
        found = self.state.result(entrant.number, WHOLE)
        if found is not None:
            return not found.failed
        if not self._in_time(SHORTEST * asked.times.whole(entrant)):
            self.console.say(f"{entrant.name}: no time for all steps")
            return False
        self._discard_short(entrant)
        return self._tried(entrant, WHOLE, lambda: self._whole(entrant))

    def _decide(self, asked: Fitted, times: Times) -> None:
        """Choose who takes part: as many as the time allows."""
        if asked.losses is None:
            self.state.decide((), asked.assembly.config)
            kind = asked.assembly.target.problem_type
            self.console.say(f"compared with it: no other, since {kind} has no loss of a row to compare fits by")
            return
        most = asked.assembly.config.optim.arms - 1
        found = list(entrants(asked.assembly))[: most if shares_of(asked.steps) else min(most, MOST_WHOLE)]
        reached = [one for one in found if self._in_time(SHORTEST * times.whole(one))]
        needed = [times.needed(reached[:n], asked.steps) for n in range(len(reached) + 1)]
        count = max(n for n, seconds in enumerate(needed) if n == 0 or self._in_time(seconds))
        self.state.decide(reached[:count], asked.assembly.config)
        names = ", ".join(one.name for one in reached[:count]) or "no other"
        self.console.say(f"compared with it: {names}")

    # -- short fits

    def _best_of(self, taking_part: Sequence[Entrant], asked: Result) -> list[Entrant]:
        """Return which of the others are to be trained in full: after short fits the best, without any all."""
        left, shares = list(taking_part), shares_of(asked.steps)
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
        expected = asked.times.short(share)
        if not self._in_time(expected + SHORTEST * asked.times.whole(entrant)):
            return False
        return self._tried(entrant, share, lambda: self._trained(entrant, share, asked.steps, SLOW * expected))

    def _trained(self, entrant: Entrant, share: str, steps: int, most: float) -> Result:
        """Carry out a short fit; under a time limit one that takes more than `most` seconds is an error."""
        begin, path = self.limit.elapsed, self._short_path(entrant)
        options = _short_options(share, steps)
        request = self._request_of(entrant, path, short=options)
        if self.limit.seconds is not None:
            request = replace(request, time_limit=max(min(most, self.limit.left), 1e-3))
        fitted = fit(request, Among(self.prepared))
        if not fitted.ended:
            raise KeyboardInterrupt
        if int(fitted.history["step"].max()) < options["optim.max_steps"] and self.limit.seconds is not None:
            raise TimeoutError(f"{share} of the steps take more than {most:.0f} s")
        return self._keep(entrant, share, fitted, begin)

    # -- the average of two fits

    def _average(self, best: Entrant, asked: Result) -> None:
        """Finish a model whose weights are the mean of two fits' (model soups, Wortsman et al., ICML 2022)."""
        number = self.average_number
        if self.state.result(number, WHOLE) is not None or not self._in_time(asked.times.fixed):
            return
        entrant = Entrant(number, f"average of {ASKED.name!r} and {best.name!r}")
        states = [load_file(str(self._kept(one.number))) for one in (ASKED, best)]
        path, begin = self.folder.trial(number), self.limit.elapsed

        def finished() -> Result:
            chosen = {"env.loggers": ((), "nothing is trained")}
            request = replace(self._request_of(entrant, None), chosen=chosen, resume=False)
            fitted = fit(request, Among(self.prepared, states=states))
            if not fitted.ended:
                raise KeyboardInterrupt
            with writing_to(path):
                artifact.save(fitted, path, overwrite=True)
            return self._keep(entrant, WHOLE, fitted, begin)

        self._tried(entrant, WHOLE, finished)

    # -- parts of these

    def _tried(self, entrant: Entrant, share: str, call: Callable[[], object]) -> bool:
        """Say whether a call came to its end; an error of this entrant's is kept as its result."""
        begin = self.limit.elapsed
        try:
            call()
            return True
        except OF_ALL:
            raise
        except OF_AN_ARM as error:
            why = f"{type(error).__name__}: {first_line(error)}"
            self.state.put(Result(entrant.number, share, None, self.limit.elapsed - begin, failed=why), None)
            self._discard_short(entrant)
            self.folder.discard(entrant.number)
            self.console.say(f"{entrant.name} failed: {why}")
            return False

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
            callbacks=asked.callbacks if entrant is ASKED else (),  # what they remember is of one fit
            loggers=asked.loggers if entrant is ASKED else (),
            verbosity=asked.verbosity if entrant is ASKED else max(0, asked.verbosity - 1),
        )

    def _keep(self, entrant: Entrant, share: str, fitted: Fitted, begin: float) -> Result:
        """Keep how a fit ended that began then, and say it."""
        seconds = self.limit.elapsed - begin
        score = fitted.history.kept_scores.get(self.metric)
        values = {key: fitted.assembly.config[key] for key in self.state.asked}
        result = Result(entrant.number, share, score, seconds, values, fitted.steps, Times.of(fitted, seconds))
        self.state.put(result, fitted.losses)
        part = "" if share == WHOLE else f", {share} of the steps"
        scored = "no score" if score is None else f"{self.metric} {score:.4f}"
        loss = "" if fitted.losses is None else f", loss {mean_loss(fitted.losses):.4f}"
        self.console.say(f"{entrant.name}{part}: {scored}{loss} ({seconds:.0f} s)")
        return result

    def _left_for(self, entrant: Entrant) -> float:
        """Return the seconds for an entrant: from the others' some are kept for the average."""
        asked = self.state.result(ASKED.number, WHOLE)
        return self.limit.left - (MARGIN * asked.times.fixed if asked is not None and entrant.options else 0.0)

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


def _shown(entrant: Entrant) -> str:
    return "".join(f", {path}={value}" for path, value in entrant.options.items())
