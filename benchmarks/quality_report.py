"""The tables of `quality.py`: a line a cell, what they come to, and a comparison with a former run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

HEAD = (
    f"{'case':<26}{'rows':>5} {'ours':>6} {'probe':>6} {'base':>6} {'diff':>6} {'95 % interval':>17} {'':<6} "
    f"{'loss':>5} {'base':>5} {'ECE':>4} {'CPU s':>5}  strongest baseline"
)

TOLERANCE = 0.005  # of log-loss


def show(results: Sequence[Mapping[str, Any]]) -> None:
    """Print a line a cell, then what they come to."""
    print(HEAD)
    for one in results:
        ours, probe, base = (one["mean"][part] for part in ("ours", "probe", "strongest"))
        gap, floor = one["vs_baseline"], one["vs_probe"]
        interval = f"[{gap['low']:+.4f}, {gap['high']:+.4f}]" if gap else ""
        below = "*" if floor and floor["mean"] < -floor["se"] else " "
        numbers = [number(part.get("score"), 4) for part in (ours, probe, base)]
        losses = [number(value, 3) for value in (ours.get("log_loss"), base.get("log_loss"), ours.get("ece"))]
        ahead = f"{gap['mean']:+.4f}" if gap else ""
        print(
            f"{one['case']:<26}{one['rows']:>5} {numbers[0]:>6}{below}{numbers[1]:>6} {numbers[2]:>6} "
            f"{ahead:>7} {interval:>18} {gap['verdict'] if gap else '':<6} "
            f"{losses[0]:>5} {losses[1]:>5} {losses[2]:>5} {number(ours.get('cpu'), 0):>5}  {one['baseline'] or ''}"
        )
    print("* below its own probe by more than one standard error")
    summarise(results)


def summarise(results: Sequence[Mapping[str, Any]]) -> None:
    """Print shares, and the cells that are behind."""
    met = [one for one in results if one["vs_baseline"]]
    floors = [one for one in results if one["vs_probe"]]
    counts = {word: sum(one["vs_baseline"]["verdict"] == word for one in met) for word in ("ahead", "level", "behind")}
    print(f"of {len(met)}: " + ", ".join(f"{count} {word}" for word, count in counts.items()))
    print(f"higher mean than the baseline: {sum(one['vs_baseline']['mean'] > 0 for one in met)} of {len(met)}")
    print("behind: " + (listed(met, lambda one: bool(one["vs_baseline"]["verdict"] == "behind"))))
    print("below the probe: " + listed(floors, lambda one: bool(one["vs_probe"]["mean"] < -one["vs_probe"]["se"])))
    asked = [one for one in results if one["asked"] and one["mean"]["ours"]]
    print("short of what is asked: " + listed(asked, lambda one: bool(one["mean"]["ours"]["score"] < one["asked"])))
    for part in ("ours", "probe", "strongest"):
        print(f"mean ECE, {part}: {number(mean_ece(results, part), 4)}")
    known = [one for one in results if "log_loss_before" in one["mean"]["ours"]]
    worse = [
        one for one in known if one["mean"]["ours"]["log_loss"] > one["mean"]["ours"]["log_loss_before"] + TOLERANCE
    ]
    print(f"log-loss after calibration above that before, of {len(known)}: {listed(worse, lambda _: True)}")
    print("mean ECE before calibration: " + number(mean_ece(known, "ours", "ece_before"), 4))
    total = sum(facts["cpu"] for one in results for facts in one["seeds"]["ours"].values())
    print(f"CPU seconds of our fits: {total:,.0f}")


def listed(results: Sequence[Mapping[str, Any]], which: Callable[[Mapping[str, Any]], bool]) -> str:
    """Return the names of some of the cells."""
    return ", ".join(f"{one['case']}[{one['rows']}]" for one in results if which(one)) or "none"


def mean_ece(results: Sequence[Mapping[str, Any]], part: str, name: str = "ece") -> float | None:
    """Return the mean calibration error over the cells that have one."""
    found = [one["mean"][part].get(name) for one in results]
    known = [value for value in found if value is not None and not math.isnan(value)]
    return float(np.mean(known)) if known else None


def compare(former: Sequence[Mapping[str, Any]], results: Sequence[Mapping[str, Any]]) -> None:
    """Print, for each cell that both have, the differences of ours by seed: now less before."""
    print(
        f"\n{'now less before':<26}{'rows':>5} {'seeds':>5} {'score':>8} {'± SE':>7} {'loss':>7} {'ECE':>7} {'CPU':>6}"
    )
    old = {(one["case"], one["rows"]): one["seeds"]["ours"] for one in former}
    spent = [0.0, 0.0]
    for one in results:
        before, now = old.get((one["case"], one["rows"]), {}), one["seeds"]["ours"]
        shared = [seed for seed in now if seed in before]
        if not shared:
            continue
        gaps = {
            name: np.array([float(now[s][name] or 0) - float(before[s][name] or 0) for s in shared])
            for name in ("score", "log_loss", "ece")
        }
        error = gaps["score"].std(ddof=1) / math.sqrt(len(shared)) if len(shared) > 1 else math.nan
        cpu = [sum(side[seed]["cpu"] for seed in shared) for side in (now, before)]
        spent = [spent[0] + cpu[0], spent[1] + cpu[1]]
        print(
            f"{one['case']:<26}{one['rows']:>5} {len(shared):>5} {gaps['score'].mean():>+8.4f} {error:>7.4f} "
            f"{number(gaps['log_loss'].mean(), 4):>7} {number(gaps['ece'].mean(), 4):>7} {cpu[0] / cpu[1]:>5.2f}x"
        )
    if spent[1]:
        print(f"CPU seconds: {spent[0]:,.0f} against {spent[1]:,.0f}, {spent[0] / spent[1]:.2f}x")


def number(value: float | None, digits: int) -> str:
    """Write a number, or nothing where there is none."""
    return "" if value is None or math.isnan(value) else f"{value:.{digits}f}"
