"""The commands that train, or show what training would do: fit, explain, recommend."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from thermocline.cli.parts import check_out
from thermocline.errors import escaped


def add(commands: Any) -> None:
    """Add the commands."""
    _add_fit(commands, "fit", _fit, "fit to a CSV or parquet file and save the predictor")
    _add_fit(commands, "explain", _explain, "show the plan of a fit without training")
    _add_fit(commands, "recommend", _recommend, "show the options that fit a memory and a time, without training")


def _add_fit(commands: Any, name: str, run: Any, text: str) -> None:
    fit = commands.add_parser(name, help=text)
    fit.add_argument(
        "data", help="training data: .csv, .tsv or .parquet; images also a folder by class; boxes COCO or VOC"
    )
    fit.add_argument("--label", action="append", required=True, help="the label column; several for multilabel")
    fit.add_argument("--tuning-data", help="rows to validate on")
    fit.add_argument("--problem-type", help="binary, multiclass, multilabel, regression or object_detection")
    fit.add_argument("--eval-metric", help="the metric that validation goes by")
    fit.add_argument("--positive-class", metavar="CLASS", help="of two classes the one that f1 and others are about")
    fit.add_argument("--sample-weight", help="a column of row weights")
    fit.add_argument("--presets", nargs="+", metavar="NAME", help="preset names or files, composed left to right")
    fit.add_argument("--set", nargs="+", action="extend", metavar="KEY=VALUE", help="overrides, such as optim.lr=1e-4")
    fit.add_argument("--config", action="append", metavar="FILE", help="a YAML file of overrides")
    fit.add_argument("--column-type", nargs="+", action="extend", metavar="COLUMN=TYPE", help="types to overrule")
    fit.add_argument("--seed", type=int, default=0)
    fit.add_argument("--start-from", metavar="FOLDER", help="a saved predictor that training starts from")
    fit.add_argument("--quiet", action="store_true", help="print nothing but the result")
    if name != "explain":
        fit.add_argument(
            "--memory",
            type=_bytes,
            help="memory that training may take, such as 8GB: options are changed until it fits",
        )
        fit.add_argument("--time-limit", type=_seconds, help="seconds for everything, or 20m, 1.5h")
    if name == "recommend":
        fit.add_argument("--probes", action="store_true", help="also probe the outputs of every layer, in one pass")
        fit.add_argument("--out", metavar="FILE", help="also write the options as YAML, for fit --config")
    elif name == "fit":
        _add_training(fit)
    else:
        fit.add_argument("--out", help="also write the plan as JSON")
        fit.add_argument("--timed", action="store_true", help="take a few steps, to tell how long the fit takes")
        fit.add_argument("--write-phases", metavar="FILE", help="also write the phases as YAML, to edit them")
    fit.set_defaults(run=run)


def _add_training(fit: argparse.ArgumentParser) -> None:
    """Add what only a fit takes, which trains and saves."""
    fit.add_argument("--out", required=True, help="the folder to save into")
    fit.add_argument("--search-trials", type=int, metavar="N", help="search spaces among the overrides, N fits")
    fit.add_argument("--search-storage", metavar="PATH|URL", help="a file or database that several searches share")
    fit.add_argument("--search-study", metavar="NAME", help="the name of the study in the storage")
    fit.add_argument("--plan", help="a plan saved as JSON, or a YAML file of phases")
    fit.add_argument("--resume", action="store_true", help="continue where the same command was stopped")
    fit.add_argument("--overwrite", action="store_true", help="replace the predictor that is saved at --out")


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

    return Predictor(
        given.label[0] if len(given.label) == 1 else given.label,
        given.problem_type,
        given.eval_metric,
        path,
        positive_class=given.positive_class,
        sample_weight=given.sample_weight,
        verbosity=0 if given.quiet else 1,
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
    predictor = _predictor(given, given.out)
    how = {name: getattr(given, name) for name in ("time_limit", "memory", "plan", "resume", "overwrite")}
    search = _search(given)
    predictor.fit(given.data, **how, **_choices(given), search=search)
    if predictor._leaderboard is not None and not given.quiet:
        print(escaped(predictor.leaderboard().to_string(index=False), lines=True))
    print(escaped(f"saved to {predictor.path}"))


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
    print(plan)
    if given.out:
        Path(given.out).write_text(plan.to_json(), encoding="utf-8")
        print(f"plan written to {given.out}; edit it and pass it to fit --plan")
    if given.write_phases:
        Path(given.write_phases).write_text(plan.phases_yaml(), encoding="utf-8")
        print(f"phases written to {given.write_phases}; edit them and pass them to fit --plan")


def _recommend(given: argparse.Namespace) -> None:
    import yaml

    from thermocline.errors import ConfigError

    check_out(given.out)
    if given.out and Path(given.out).suffix not in (".yaml", ".yml"):
        raise ConfigError(f"--out {given.out!r} has to end in .yaml or .yml.")
    budget = {"memory": given.memory, "time_limit": given.time_limit}
    found = _predictor(given, None).recommend(given.data, **budget, probes=given.probes, **_choices(given))
    print(found)
    if given.out:
        Path(given.out).write_text(yaml.safe_dump(found.to_dict(), sort_keys=False), encoding="utf-8")
        print(f"options written to {given.out}; edit them and pass them to fit --config")
