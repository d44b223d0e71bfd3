"""Judges the layer map of every timm and transformers model that can be built offline.

    python benchmarks/layer_census.py [--timm] [--transformers] [--only PATTERN] [--jobs 2] [--out FILE.json]

Every model is built on the meta device, run once, and its map held against that run (`order_oracle`). Prints a table
by family (timm) or task (transformers), every model whose map is not right with its first faults, and how others
fare: timm's own `group_matcher`, judged here by the same rules, and published figures. Lists the families that are new
in the installed libraries and those that `families.json` of the tests has in excess. Writes all of it as JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import re
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import timm
import torch
import transformers
from torch import nn
from transformers.models.auto.configuration_auto import model_type_to_module_name

import zoo
from order_oracle import Trace, judge, label_dependent, trace, verdict
from thermocline.tuning.layers.layer import Layer
from thermocline.tuning.layers.layer_map import LayerMap

LABELS = 10
#: A small member of every family, which the tests judge.
LISTED = Path(__file__).parents[1] / "tests" / "tuning" / "layers" / "families.json"
_SMALL = ("tiny", "small", "atto", "nano", "micro", "xxs", "xs", "_s")  # what names of small timm models hold
VERDICTS = ("right", "right (order unchecked)", "loud", "silent", "failed", "unbuildable")
# Measured earlier on the same versions, each on the models it is meant for.
PUBLISHED = (
    ("AutoGluon's pattern tables, timm", 1072, 19.8),
    ("AutoGluon's pattern tables, timm, misplaced norms of blocks forgiven", 1072, 82.6),
    ("AutoGluon's pattern tables, transformers, sequence", 124, 33.0),
    ("AutoGluon's pattern tables, transformers, token", 99, 41.0),
    ("timm's group_matcher, timm", 1072, 97.3),
)


@dataclass
class Row:
    """What was found about one model.

    Attributes:
        group: The family (timm) or the task (transformers).
        name: The name (timm) or the type (transformers).
        verdict: One of `VERDICTS`.
        faults: What is wrong with the map, or why there is none.
        unchecked: Why the forward could not be followed; empty if it was.
        others: The verdict on each other map of the model.
        seconds: By step.
        timed_out: Whether it took too long; the verdict is then `failed`.
    """

    source: str
    group: str
    name: str
    verdict: str = "failed"
    faults: list[str] = field(default_factory=list)
    unchecked: str = ""
    layers: int = 0
    warnings: list[str] = field(default_factory=list)
    unused: int = 0
    parameters: int = 0
    others: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    timed_out: bool = False


class TooSlow(BaseException):
    """Raised by the alarm; no model catches it."""


def main() -> None:
    """Walk, print, write."""
    options = parsed()
    jobs = list(chosen(options))
    started = time.perf_counter()
    rows = walked(jobs, options)
    elapsed = time.perf_counter() - started
    rows.sort(key=lambda row: (row.source, row.group, row.name))
    report(rows)
    print(f"\n{len(rows)} models in {elapsed:.0f} s; {memory()} MB at most in one process")
    if options.out:
        save(options.out, rows, elapsed)


def parsed() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--timm", action="store_true", help="only timm (both where neither is given)")
    parser.add_argument("--transformers", action="store_true", help="only transformers")
    parser.add_argument("--only", default="", help="a regular expression; searched in timm names and task/type")
    parser.add_argument("--every", type=int, default=1, help="take every n-th model only")
    parser.add_argument("--full", action="store_true", help="transformers at their default depth")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--timeout", type=int, default=60, help="seconds for one model")
    parser.add_argument("--out", type=Path, help="where to write JSON")
    options = parser.parse_args()
    if not options.timm and not options.transformers:
        options.timm = options.transformers = True
    return options


def chosen(options: argparse.Namespace) -> Iterator[tuple[str, str, str]]:
    """Yield what to judge: source, family or task, name or type."""
    everything: list[tuple[str, str, str]] = []
    if options.timm:
        everything += [("timm", zoo.timm_family(name), name) for name in zoo.timm_names()]
    if options.transformers:
        everything += [("transformers", task, kind) for task, kind in zoo.transformers_types()]
    found = [job for job in everything if re.search(options.only, job[2] if job[0] == "timm" else "/".join(job[1:]))]
    yield from found[:: options.every]


def listed_families() -> dict[str, dict[str, str]]:
    """Return by library the families that the tests judge, each with the member that they take."""
    found: dict[str, dict[str, str]] = json.loads(LISTED.read_text(encoding="utf-8"))
    return found


def families(source: str) -> dict[str, list[str]]:
    """Return the families of the installed timm or transformers, each with its members as `families.json` has them."""
    found: dict[str, list[str]] = defaultdict(list)
    if source == "timm":
        for name in zoo.timm_names():
            found[zoo.timm_family(name)].append(name)
    else:
        for task, kind in zoo.transformers_types():
            found[model_type_to_module_name(kind)].append(f"{task}/{kind}")
    return dict(found)


def new_families(source: str) -> list[str]:
    """Return the families that the installed library has and the list has not."""
    return sorted(set(families(source)) - set(listed_families()[source]))


def missing_families(source: str) -> list[str]:
    """Return the families that the list has and the installed library has not."""
    return sorted(set(listed_families()[source]) - set(families(source)))


def small_member(source: str, family: str) -> tuple[str, str]:
    """Return family or task, and name or type, of a small member of a family."""
    members = families(source)[family]
    if source == "transformers":  # all are built small
        task, _, kind = members[0].partition("/")
        return task, kind
    return family, min(members, key=lambda name: (not any(word in name for word in _SMALL), len(name), name))


def walked(jobs: Sequence[tuple[str, str, str]], options: argparse.Namespace) -> list[Row]:
    """Judge all, in several processes that are replaced now and then, for torch keeps some memory of every model."""
    work = [(*job, options.full, options.timeout) for job in jobs]
    if options.jobs <= 1:
        return [examined(item) for item in work]
    context = multiprocessing.get_context("fork")
    with context.Pool(options.jobs, maxtasksperchild=100) as pool:
        rows = []
        for row in pool.imap_unordered(examined, work, chunksize=4):
            rows.append(row)
            if len(rows) % 100 == 0:
                print(f"{len(rows)} of {len(work)}", file=sys.stderr, flush=True)
        return rows


def examined(work: tuple[str, str, str, bool, int]) -> Row:
    """Judge one model, within its time."""
    source, group, name, full, timeout = work
    row = Row(source, group, name)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(timeout)
    try:
        (examine_timm if source == "timm" else examine_transformers)(row, full=full)
    except zoo.Unbuildable as problem:
        row.verdict, row.faults = "unbuildable", [str(problem)]
    except TooSlow:
        row.timed_out, row.faults = True, [f"not done within {timeout} s"]
    except Exception as problem:  # the walk goes on whatever a model does
        row.faults = [f"{type(problem).__name__}: {problem}"[:300], traceback.format_exc()[-600:]]
    finally:
        signal.alarm(0)
    return row


def too_slow(*_: Any) -> None:
    """Answer the alarm."""
    raise TooSlow


@contextlib.contextmanager
def timed(row: Row, step: str) -> Iterator[None]:
    """Note how long a step took."""
    started = time.perf_counter()
    yield
    row.seconds[step] = round(row.seconds.get(step, 0.0) + time.perf_counter() - started, 3)


def examine_timm(row: Row, *, full: bool) -> None:
    """Judge our map of a timm model, and timm's own."""
    del full  # there is but one depth
    with timed(row, "build"):
        model = zoo.timm_model(row.name, num_classes=LABELS)
    seen = followed(row, model)
    with timed(row, "labels"):
        labels = label_dependent(lambda count: zoo.timm_model(row.name, num_classes=count), LABELS, model)
    with timed(row, "detect"):
        found = LayerMap.of(model)
    judged(row, model, seen, labels, found)
    with timed(row, "others"):
        row.others = dict(other_verdicts(model, seen, labels))


def examine_transformers(row: Row, *, full: bool) -> None:
    """Judge our map of a transformers model, at its default depth if a small one cannot be followed."""
    for small in (False,) if full else (True, False):
        with timed(row, "build"):
            model = zoo.transformers_model(row.group, row.name, num_labels=LABELS, small=small)
        seen = followed(row, model)
        if seen.ran:
            break

    def again(count: int) -> nn.Module:
        return zoo.transformers_model(row.group, row.name, num_labels=count, small=small)

    with timed(row, "detect"):
        found = LayerMap.of(model)
    with timed(row, "labels"):
        head = {name for layer in found.layers if layer.role == "head" for name in layer.parameters}
        # A model without a task has no head to find; but what depends on its labels all the same may be called one.
        asked = row.group != "base" or head
        labels = label_dependent(again, LABELS, model) if asked else set()
    judged(row, model, seen, labels & head if row.group == "base" else labels, found)


def followed(row: Row, model: nn.Module) -> Trace:
    """Run a model on the fullest inputs that it takes."""
    seen = Trace(names=tuple(name for name, _ in model.named_parameters()), error="no inputs are known for it")

    def attempt(inputs: Any) -> str:
        nonlocal seen
        seen = trace(model, inputs)
        return seen.error

    with timed(row, "trace"):
        first = zoo.run_first(model, attempt)
    row.unchecked = first if seen.error else ""
    row.parameters, row.unused = len(seen.names), len(seen.names) - len(seen.used)
    return seen


def judged(row: Row, model: nn.Module, seen: Trace, labels: Iterable[str], found: LayerMap) -> None:
    """Judge a map."""
    with timed(row, "judge"):
        row.verdict = verdict(found, model, seen, labels)
        row.faults = judge(found, model, seen, labels)
    row.layers, row.warnings = len(found), list(found.warnings)


def other_verdicts(model: nn.Module, seen: Trace, labels: set[str]) -> Iterator[tuple[str, str]]:
    """Judge timm's `group_matcher`: as it is, and with the classifier taken out of its last group for it."""
    try:
        matcher: Any = model.group_matcher
        groups = timm.models._manipulate.group_parameters(model, matcher(coarse=False))
    except Exception as problem:  # some models have none
        yield "group_matcher", f"none: {type(problem).__name__}"
        return
    yield "group_matcher", verdict(matcher_map(groups, groups[max(groups)]), model, seen, labels)
    yield "group_matcher, its head set right", verdict(matcher_map(groups, labels), model, seen, labels)


def matcher_map(groups: dict[int, list[str]], head: Iterable[str]) -> LayerMap:
    """Turn numbered groups of parameters into a map: the first is the stem, `head` the head, the rest blocks."""
    head = set(head)
    layers = []
    for depth in sorted(groups):
        names = tuple(name for name in groups[depth] if name not in head)
        if names:
            layers.append(layer(f"group.{depth}", "stem" if depth == 0 else "block", depth, names))
    return LayerMap((*layers, layer("head", "head", len(groups), tuple(sorted(head)))))


def layer(name: str, role: str, depth: int, names: tuple[str, ...]) -> Layer:
    """Make a layer of parameters alone."""
    return Layer(name, "model", role, depth, names, (), pretrained=True, source="group_matcher")


# --- telling -----------------------------------------------------------------------------------------------------


def report(rows: Sequence[Row]) -> None:
    """Print tables, what is not right, and the comparison."""
    for source in ("timm", "transformers"):
        mine = [row for row in rows if row.source == source]
        if mine:
            print_table(source, mine)
    print_wrong(rows)
    print_comparison(rows)
    print_families(sorted({row.source for row in rows}))


def print_table(source: str, rows: Sequence[Row]) -> None:
    """Print verdicts by family or task."""
    groups: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        groups[row.group][row.verdict] += 1
    titles = ("right", "unchecked", "loud", "silent", "failed", "unbuildable")
    print(f"\n{source:<34}{'models':>8}" + "".join(f"{title:>12}" for title in titles))
    for name, counts in [*sorted(groups.items()), ("all", sum(groups.values(), Counter()))]:
        print(f"{name:<34}{counts.total():>8}" + "".join(f"{counts[key] or '.':>12}" for key in VERDICTS))


def print_wrong(rows: Sequence[Row]) -> None:
    """Print what is not right and why."""
    for kind in VERDICTS[1:]:
        those = [row for row in rows if row.verdict == kind]
        print(f"\n{kind}: {len(those)}")
        for row in those:
            why = [row.unchecked] if kind == VERDICTS[1] else row.faults or row.warnings
            print(f"  {row.group}/{row.name} ({row.layers} layers): " + "; ".join(why[:2])[:300])


def print_comparison(rows: Sequence[Row]) -> None:
    """Print our share of right maps beside that of others."""
    print("\nshare of right maps")
    for title, count, share in comparison(rows):
        print(f"  {title:<76}{count:>6}{share:>8.1f} %")


def print_families(sources: Iterable[str]) -> None:
    """Print which families the list of the tests lacks, and which it has in excess."""
    for source in sources:
        print(f"\nfamilies of {source}: {len(families(source))}, in families.json {len(listed_families()[source])}")
        for title, names in (("new", new_families(source)), ("missing", missing_families(source))):
            print(f"  {title}: {', '.join(names) or 'none'}")


def comparison(rows: Sequence[Row]) -> list[tuple[str, int, float]]:
    """Return ours, the others judged here, and the published figures."""
    found = []
    for source, group in (("timm", ""), ("transformers", ""), ("transformers", "sequence"), ("transformers", "token")):
        mine = [row for row in rows if row.source == source and group in ("", row.group)]
        mine = [row for row in mine if row.verdict != "unbuildable"]
        if mine:
            share = 100 * sum(row.verdict.startswith("right") for row in mine) / len(mine)
            found.append((f"ours, {source}{', ' + group if group else ''}, here", len(mine), share))
    for title in ("group_matcher", "group_matcher, its head set right"):
        those = [row.others[title] for row in rows if title in row.others]
        if those:
            share = 100 * sum(said.startswith("right") for said in those) / len(those)
            found.append((f"timm's {title}, here", len(those), share))
    return [*found, *((f"{title}, published", count, share) for title, count, share in PUBLISHED)]


def memory() -> int:
    """Return the most megabytes that one of the processes used."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) // 1024


def save(path: Path, rows: Sequence[Row], elapsed: float) -> None:
    """Write everything as JSON."""
    versions = {"torch": torch.__version__, "timm": timm.__version__, "transformers": transformers.__version__}
    counts = {
        source: Counter(row.verdict for row in rows if row.source == source) for source in ("timm", "transformers")
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    changes = {source: {"new": new_families(source), "missing": missing_families(source)} for source in counts}
    told = {
        "versions": versions,
        "seconds": round(elapsed),
        "counts": counts,
        "comparison": comparison(rows),
        "families": changes,
    }
    right: dict[str, dict[str, int]] = defaultdict(dict)  # by family or task, the number of layers of each model
    for row in rows:
        if row.verdict == "right":
            right[f"{row.source}/{row.group}"][row.name] = row.layers
    rest = [asdict(row) for row in rows if row.verdict != "right"]
    path.write_text(json.dumps({**told, "right": right, "rest": rest}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
