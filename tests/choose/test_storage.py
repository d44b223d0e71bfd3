"""Where a study is kept, and what `fit(search=…)` refuses before anything is loaded."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

from support.tiny import TINY, make_table, told
from thermocline import Predictor
from thermocline.choose.settings import SearchSettings
from thermocline.choose.storage import open_storage, quiet
from thermocline.errors import ConfigError, MissingDependencyError, StorageError

SPACE = {"optim.lr": "loguniform(1e-3, 1e-1)"}


def fit(search: Any, options: Any = SPACE, **more: Any) -> Predictor:
    return Predictor("y", verbosity=0).fit(make_table(40), hyperparameters={**TINY, **options}, search=search, **more)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (20, "search is a mapping such as search={'trials': 20}"),
        (True, "search is a mapping"),
        ({}, "the fits to compare; it is missing"),
        ({"trials": 0}, "from 1 to 1,000,000, the fits to compare; got 0"),
        ({"trials": 2.5}, "got 2.5"),
        ({"trials": True}, "got True"),
        ({"trail": 3}, "not 'trail'. Did you mean 'trials'?"),
        ({"trials": 3, "time_limit": 9}, "It is an argument of fit."),
        ({"trials": 3, "storage": 4}, "the path of a file or the URL of a database"),
        ({"trials": 3, "storage": "redis://:secret@host/0"}, "none that a study can be kept in"),
        ({"trials": 3, "study": " "}, "the name of a study"),
    ],
)
def test_settings_that_are_none(given: Any, says: str, no_loading: None) -> None:
    message = told(ConfigError, ValueError, lambda: fit(given))
    assert says in message
    assert "secret" not in message


def test_a_search_without_a_space(no_loading: None) -> None:
    message = told(ConfigError, ValueError, lambda: fit({"trials": 3}, {}))
    assert "no hyperparameter is one" in message
    assert "'optim.lr': 'loguniform(1e-5, 1e-3)'" in message


def test_a_space_without_a_search(no_loading: None) -> None:
    assert "search={'trials': 20}" in told(ConfigError, ValueError, lambda: fit(None))
    explain = Predictor("y", verbosity=0).explain
    assert "search={'trials': 20}" in told(
        ConfigError, ValueError, lambda: explain(make_table(40), hyperparameters=SPACE)
    )


def test_a_space_that_has_no_effect(no_loading: None) -> None:
    for path, text in (("model.image.size", "choice(32, 64)"), ("optim.label_smoothing", "uniform(0, 0.2)")):
        frame, label = make_table(40).assign(n=range(40)), "n" if path.startswith("optim") else "y"
        options = {**TINY, path: text}
        predictor = Predictor(label, verbosity=0)
        message = told(
            ConfigError,
            ValueError,
            lambda p=predictor, f=frame, o=options: p.fit(f, hyperparameters=o, search={"trials": 3}),
        )
        assert message.startswith(f"{path} is a space and has no effect: ")


def test_a_plan_beside_a_search(fitted_table: Predictor) -> None:
    message = told(ConfigError, ValueError, lambda: fit({"trials": 3}, plan=fitted_table.plan))
    assert "plan= says what every layer does, and search= looks for it" in message


def test_resume_needs_a_path() -> None:
    assert "path='my_model'" in told(ConfigError, ValueError, lambda: fit({"trials": 3}, resume=True))


@pytest.mark.parametrize(
    ("storage", "says"),
    [
        ("{folder}/absent/study.log", "there is no folder"),
        ("{folder}", "is a folder"),
        ("{folder}/notes.txt", "a file, but not one of a search"),
        ("sqlite:///{folder}/absent/study.db", "cannot be reached or used (OperationalError"),
        ("nosuch://user:secret@host/db", "user:***@host"),
    ],
)
def test_a_storage_that_cannot_be_reached(tmp_path: Path, storage: str, says: str) -> None:
    (tmp_path / "notes.txt").write_text("buy milk\n", encoding="utf-8")
    where = storage.format(folder=tmp_path)
    message = told(StorageError, OSError, lambda: fit({"trials": 3, "storage": where}))
    assert says in message
    assert "secret" not in message
    assert (tmp_path / "notes.txt").read_text(encoding="utf-8") == "buy milk\n"


def test_a_database_without_its_driver() -> None:
    pytest.importorskip("sqlalchemy")
    assert "psycopg2" not in sys.modules
    message = told(
        MissingDependencyError,
        ImportError,
        lambda: open_storage(SearchSettings(3, "postgresql+psycopg2://user:secret@host/db")),
    )
    assert "needs a driver that is not installed" in message
    assert "secret" not in message


def test_without_optuna_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    message = told(MissingDependencyError, ImportError, lambda: fit({"trials": 3}))
    assert "pip install 'thermocline[search]'" in message


def test_logging_and_warnings_are_as_before() -> None:
    log = logging.getLogger("optuna")
    log.setLevel(logging.INFO)
    filters = list(warnings.filters)
    with quiet():
        assert not log.isEnabledFor(logging.ERROR)
        warnings.warn("unheard", stacklevel=1)
    assert log.level == logging.INFO
    assert warnings.filters == filters
