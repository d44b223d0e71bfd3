"""Options of kinds: joined into the schema, of a caller's own problem too."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from thermocline.config import ResolvedConfig, option, resolve, schema_of
from thermocline.errors import ConfigError
from thermocline.inputs.table.options import TableDataOptions
from thermocline.inputs.text.options import TextOptions
from thermocline.problems.object_detection.options import BoxOptions
from thermocline.registry import ProblemInfo


@dataclass(frozen=True)
class GradesOptions:
    """A section of its own."""

    link: Literal["logit", "probit"] = option("logit", "What links scores and grades.")
    steps: int = option(3, "Thresholds.", at_least=1, only_with={"model.grades.link": "probit"})


@dataclass(frozen=True)
class GradesDataOptions:
    """More options of a section that exists."""

    lowest: int = option(1, "The lowest grade.")


def own_problem(**options: Any) -> ProblemInfo:
    given = options or {"model.grades": GradesOptions, "data": GradesDataOptions}
    given = {name.replace("__", "."): kind for name, kind in given.items()}
    return ProblemInfo("grades", "nowhere:Grades", ("grades",), (), {}, {}, options=given)


def test_the_options_of_a_callers_own_problem_are_joined() -> None:
    problem = own_problem()
    config = resolve("low_memory", {"model.grades.link": "probit", "data": {"lowest": "0"}}, problem=problem)
    assert (config.model.grades.link, config.model.grades.steps, config.data.lowest) == ("probit", 3, 0)
    assert config.model.text.max_length == 256
    assert next(iter(config.items()))[0] == "model.frozen_layers"
    assert config.section("model.grades", GradesOptions) is config.model.grades
    assert config.section("data", GradesDataOptions).lowest == 0
    assert config.choose("model.grades.steps", 4, "four grades").model.grades.steps == 4
    assert ResolvedConfig.from_yaml(config.to_yaml(), problem=problem) == config
    assert pickle.loads(pickle.dumps(config)) == copy.deepcopy(config) == config
    assert schema_of(problem) is schema_of(own_problem())
    with pytest.raises(ConfigError, match=r"link: 'cloglog' is not allowed; it takes 'logit' or 'probit'"):
        resolve(None, {"model.grades.link": "cloglog"}, problem=problem)
    with pytest.raises(ConfigError, match=r"model\.grades\.link"):
        resolve(None, {"model.grades.link": "probit"})


def test_a_preset_may_hold_options_of_a_callers_own_problem(tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("model: {grades: {steps: 5}}\n", encoding="utf-8")
    assert resolve(path, problem=own_problem()).model.grades.steps == 5
    with pytest.raises(ConfigError, match=r"preset 'mine\.yaml': model\.grades\.steps is not an option"):
        resolve(path)


def test_a_section_of_the_top_may_be_new() -> None:
    problem = own_problem(grades=GradesOptions)
    with pytest.raises(ConfigError, match=r"depends on model\.grades\.link, which is not an option"):
        schema_of(problem)
    config = resolve(None, {"grades.lowest": 2}, problem=own_problem(grades=GradesDataOptions))
    assert config["grades.lowest"] == config.section("grades", GradesDataOptions).lowest == 2
    with pytest.raises(ConfigError, match="The sections are model, optim, data, env and grades"):
        resolve(None, {"zzzz.zzzz": 1}, problem=own_problem(grades=GradesDataOptions))


def test_a_section_is_typed() -> None:
    config = resolve()
    assert config.section("model.text", TextOptions).pooling == "auto"
    assert config.section("data", BoxOptions).box_format == "xyxy"
    assert config.section("data", TableDataOptions).max_categories == 512
    for path in ("model.grades", "model.text", "optim.lr"):
        with pytest.raises(ConfigError, match=f"no section '{path}' with the options of GradesOptions"):
            config.section(path, GradesOptions)


@dataclass
class Thawed:
    """Not frozen."""

    lowest: int = option(1, "The lowest grade.")


@dataclass(frozen=True)
class Bare:
    """Without documentation."""

    lowest: int = 1
    highest: list[int] = field(default_factory=list)


@dataclass(frozen=True)
class Taken:
    """A name that the section has."""

    image_folder: str = option("here", "Where images lie.")


@dataclass(frozen=True)
class NamedAsSection:
    """A name that is a section."""

    text: str = option("here", "Where texts lie.")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"data": Thawed}, "'Thawed', have to be a frozen dataclass"),
        ({"data": int}, "'int', have to be a frozen dataclass"),
        ({"data": Bare}, "lack a default or documentation: lowest, highest. Make each with"),
        ({"data": Taken}, "'image_folder' of section 'data' is in DataConfig and in Taken"),
        ({"model": NamedAsSection}, "'text' of section 'model'"),
        ({"no section": GradesDataOptions}, "a dotted name, such as 'model.mine'"),
        ({"optim.lr": GradesDataOptions}, "'lr' of section 'optim'"),
    ],
)
def test_options_that_cannot_be_joined_say_why(options: dict[str, type], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        schema_of(own_problem(**options))
    assert says in str(caught.value)


def test_a_saved_configuration_of_a_kind_that_is_not_installed() -> None:
    problem = own_problem(model__grades=GradesOptions)
    plain = resolve(None, {"optim.lr": 1e-3}, problem=problem)
    without = ResolvedConfig.from_yaml(plain.to_yaml())
    assert without == resolve(None, {"optim.lr": 1e-3})
    assert "model.grades.link" not in dict(without.items())
    was_set = resolve(None, {"model.grades.link": "probit"}, problem=problem).to_yaml()
    with pytest.raises(ConfigError, match=r"a kind of problem or input that is not installed: 'model\.grades\.link'\."):
        ResolvedConfig.from_yaml(was_set)
