"""The commands that train, or show what training would do: fit, explain, recommend."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from thermocline.cli.parts import (
    FILE,
    FOLDER,
    METRIC,
    OPTION,
    PRESET,
    TYPE,
    add_command,
    add_json,
    check_out,
    completes,
    json_line,
)
from thermocline.errors import escaped

EXAMPLES = {
    "fit": (
        "thermocline fit train.csv --label y --out my_model\n"
        "thermocline fit train.csv --label y --presets offline --out my_model\n"
        "thermocline fit train.csv --label y --set optim.lr=1e-4 --out my_model"
    ),
    "explain": "thermocline explain train.csv --label y --out plan.json",
    "recommend": "thermocline recommend train.csv --label y --memory 8GB --out options.yaml",
}


def add(commands: Any) -> None:
    """Add the commands."""
    _add_fit(commands, "fit", _fit, "fit to a table or to images, and save the predictor")
    _add_fit(commands, "explain", _explain, "show the plan of a fit without training")
    _add_fit(commands, "recommend", _recommend, "show the options that fit a memory and a time")


def _add_fit(commands: Any, name: str, run: Any, text: str) -> None:
    fit = add_command(commands, name, text, EXAMPLES[name])
    _add_rows(fit)
    _add_options(fit)
    if name != "explain":
        _add_budget(fit)
    if name == "fit":
        _add_training(fit)
    elif name == "recommend":
        more = fit.add_argument_group("what is shown")
        more.add_argument("--probes", action="store_true", help="also probe the outputs of every layer, in one pass")
        completes(more.add_argument("--out", metavar="FILE", help="also write the options as YAML, for --config"), FILE)
        add_json(more, "the recommendation")
    else:
        more = fit.add_argument_group("what is shown")
        completes(more.add_argument("--out", metavar="FILE", help="also write the plan as JSON, for fit --plan"), FILE)
        text = "also write the phases as YAML, to edit them"
        completes(more.add_argument("--write-phases", metavar="FILE", help=text), FILE)
        more.add_argument("--timed", action="store_true", help="take a few steps, to tell how long the fit takes")
        add_json(more, "the plan")
    fit.set_defaults(run=run, command=fit)


def _add_rows(fit: argparse.ArgumentParser) -> None:
    text = ".csv, .tsv or .parquet; images also a folder by class; boxes COCO or VOC"
    completes(fit.add_argument("data", help=f"training data: {text}"), FILE)
    rows = fit.add_argument_group("the rows and what is learnt")
    text = "the label column; several for multilabel; none for pairs that all match"
    rows.add_argument("--label", action="append", metavar="COLUMN", help=text)
    rows.add_argument("--query", metavar="COLUMN", help="of similarity: the column that is searched with")
    rows.add_argument("--response", metavar="COLUMN", help="of similarity: the column that is searched in")
    completes(rows.add_argument("--tuning-data", metavar="FILE", help="rows to validate on"), FILE)
    types = "binary, multiclass, multilabel, regression, object_detection, similarity; by default from the label"
    completes(rows.add_argument("--problem-type", metavar="TYPE", help=types), TYPE)
    text = "the metric that validation goes by, such as f1"
    completes(rows.add_argument("--eval-metric", metavar="METRIC", help=text), METRIC)
    rows.add_argument("--positive-class", metavar="CLASS", help="of two classes the one that f1 and others are about")
    rows.add_argument("--sample-weight", metavar="COLUMN", help="a column of row weights")
    rows.add_argument(
        "--column-type",
        nargs="+",
        action="extend",
        metavar="COLUMN=TYPE",
        help="types to overrule: numeric, categorical, text, image, null",
    )


def _add_options(fit: argparse.ArgumentParser) -> None:
    how = fit.add_argument_group("how it is trained")
    text = "preset names or files, composed left to right (thermocline presets ls)"
    completes(how.add_argument("--presets", nargs="+", metavar="NAME", help=text), PRESET)
    text = "options, such as optim.lr=1e-4 (thermocline options)"
    completes(how.add_argument("--set", nargs="+", action="extend", metavar="KEY=VALUE", help=text), OPTION)
    completes(how.add_argument("--config", action="append", metavar="FILE", help="a YAML file of options"), FILE)
    text = "a saved predictor that training starts from"
    completes(how.add_argument("--start-from", metavar="FOLDER", help=text), FOLDER)
    how.add_argument("--seed", type=int, default=0, help="same seed, same result on the CPU (default: 0)")
    how.add_argument("--quiet", action="store_true", help="print nothing but the result")
    how.add_argument(
        "--verbosity", type=int, default=1, metavar="0|1|2", help="2 prints all options and the whole plan"
    )


def _add_budget(fit: argparse.ArgumentParser) -> None:
    budget = fit.add_argument_group("what it may take")
    text = "memory that training may take, such as 8GB: options are changed until it fits"
    budget.add_argument("--memory", type=_bytes, help=text)
    text = "seconds for everything, or 20m, 1.5h"
    budget.add_argument("--time-limit", type=_seconds, metavar="TIME", help=text)


def _add_training(fit: argparse.ArgumentParser) -> None:
    """Add what only a fit takes, which trains and saves."""
    saved = fit.add_argument_group("what is saved")
    completes(saved.add_argument("--out", required=True, metavar="FOLDER", help="the folder to save into"), FOLDER)
    saved.add_argument("--resume", action="store_true", help="continue where the same command was stopped")
    saved.add_argument("--overwrite", action="store_true", help="replace the predictor that is saved at --out")
    add_json(saved, "where it is saved and its scores in validation")
    more = fit.add_argument_group("plans and searches")
    text = "a plan saved as JSON, or a YAML file of phases"
    completes(more.add_argument("--plan", metavar="FILE", help=text), FILE)
    more.add_argument("--search-trials", type=int, metavar="N", help="search spaces among the options, in N fits")
    text = "a file or database that several searches share"
    completes(more.add_argument("--search-storage", metavar="PATH|URL", help=text), FILE)
    more.add_argument("--search-study", metavar="NAME", help="the name of the study in the storage")


def _bytes(text: str) -> int | str:
    """Return a whole number where a text is one: other texts are checked where they are used."""
    return int(text) if text.isdecimal() else text


def _seconds(text: str) -> float | str:
    """Return a number where a text is one: other texts are checked where they are used."""
    try:
        return float(text)
    except ValueError:
        return text


def _predictor(given: argparse.Namespace, path: str | None) -> Any:
    from thermocline.predictor import Predictor

    if not given.label and not (given.query or given.response):
        given.command.error("the following arguments are required: --label")
    return Predictor(
        given.label[0] if given.label and len(given.label) == 1 else given.label,
        given.problem_type,
        given.eval_metric,
        path,
        positive_class=given.positive_class,
        sample_weight=given.sample_weight,
        query=given.query,
        response=given.response,
        verbosity=0 if given.quiet or given.json else given.verbosity,
    )


def _choices(given: argparse.Namespace) -> dict[str, Any]:
    from thermocline.errors import ConfigError

    pairs = [pair.rpartition("=") for pair in given.column_type or []]
    if any(not name or not kind for name, _, kind in pairs):
        raise ConfigError(f"--column-type takes COLUMN=TYPE, not {given.column_type}.")
    return {
        "tuning_data": given.tuning_data,
        "presets": given.presets,
        "hyperparameters": [*(given.config or []), *(given.set or [])] or None,
        "column_types": {name: kind for name, _, kind in pairs} or None,
        "seed": given.seed,
        "start_from": given.start_from,
    }


def _fit(given: argparse.Namespace) -> None:
    from thermocline.report.frames import frame_text

    predictor = _predictor(given, given.out)
    how = {name: getattr(given, name) for name in ("time_limit", "memory", "plan", "resume", "overwrite")}
    search = _search(given)
    predictor.fit(given.data, **how, **_choices(given), search=search)
    if given.json:
        print(json_line(_fitted_as_data(predictor)))
        return
    if predictor._leaderboard is not None and not given.quiet:
        print(frame_text(predictor.leaderboard(), index=False))
    print(escaped(f"saved to {predictor.path}"))


def _fitted_as_data(predictor: Any) -> dict[str, Any]:
    """Return what was fitted as data that JSON can hold."""
    facts = {"path": str(predictor.path), "problem_type": predictor.problem_type, "label": predictor.label}
    facts |= {"eval_metric": predictor.eval_metric, "validation": predictor.history.kept_scores}
    if predictor._leaderboard is not None:
        facts["leaderboard"] = predictor.leaderboard().to_dict(orient="records")
    return facts


def _search(given: argparse.Namespace) -> dict[str, Any] | None:
    from thermocline.errors import ConfigError

    more = {"storage": given.search_storage, "study": given.search_study}
    if given.search_trials is None:
        for name, value in more.items():
            if value is not None:
                raise ConfigError(f"--search-{name} is for a search, which --search-trials asks for.")
        return None
    return {"trials": given.search_trials, **{name: value for name, value in more.items() if value is not None}}


def _explain(given: argparse.Namespace) -> None:
    from thermocline.errors import ConfigError

    check_out(given.out)
    check_out(given.write_phases, "--write-phases")
    if given.write_phases and Path(given.write_phases).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--write-phases {given.write_phases!r} has to end in .yaml or .yml.")
    plan = _predictor(given, None).explain(given.data, timed=given.timed, **_choices(given))
    print(json_line(json.loads(plan.to_json())) if given.json else plan)
    notes = sys.stderr if given.json else sys.stdout
    if given.out:
        Path(given.out).write_text(plan.to_json(), encoding="utf-8")
        print(f"plan written to {given.out}; edit it and pass it to fit --plan", file=notes)
    if given.write_phases:
        Path(given.write_phases).write_text(plan.phases_yaml(), encoding="utf-8")
        print(f"phases written to {given.write_phases}; edit them and pass them to fit --plan", file=notes)


def _recommend(given: argparse.Namespace) -> None:
    import yaml

    from thermocline.errors import ConfigError

    check_out(given.out)
    if given.out and Path(given.out).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out {given.out!r} has to end in .yaml or .yml.")
    budget = {"memory": given.memory, "time_limit": given.time_limit}
    found = _predictor(given, None).recommend(given.data, **budget, probes=given.probes, **_choices(given))
    print(json_line(_as_data(found)) if given.json else found)
    if given.out:
        Path(given.out).write_text(yaml.safe_dump(found.to_dict(), sort_keys=False), encoding="utf-8")
        print(
            f"options written to {given.out}; edit them and pass them to fit --config",
            file=sys.stderr if given.json else sys.stdout,
        )


def _as_data(found: Any) -> dict[str, Any]:
    """Return a recommendation as data that JSON can hold."""
    choices = [
        {
            "option": one.option,
            "value": one.value,
            "source": one.source,
            "why": one.why,
            "alternatives": [{"options": each.options, "cost": each.cost} for each in one.alternatives],
        }
        for one in found.choices
    ]
    phases = found.forecast.to_frame().to_dict(orient="records")
    return {"headline": found.headline, "options": found.to_dict(), "choices": choices, "phases": phases}
