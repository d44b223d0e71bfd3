"""Rules: every cell has a source, the nearest cell is taken and the reason tells it, and faults name the cell."""

from __future__ import annotations

from pathlib import Path

import pytest

from rules import Trial, contradicted, table
from thermocline.config import resolve
from thermocline.config.presets import presets_folder
from thermocline.config.rules import MEASURED, Case, Cell, Rules, Steps
from thermocline.config.rules_file import load_rules, read_rules
from thermocline.errors import ConfigError

REPOSITORY = Path(__file__).parents[2]
FAMILIES = {"text encoder", "image CNN", "image ViT", "text and image", "table"}
PAPER = 'source: "Someone et al., ACL 2020", n: 0, spread: null'
WHOLE = f"""
    optim.lr: {{value: 1e-4, {PAPER}}}
    optim.max_epochs: {{value: 3, {PAPER}}}
    env.batch_size: {{value: 16, {PAPER}}}
"""


def read(folder: Path, text: str) -> Rules:
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return read_rules(path)


def cells(found: Rules) -> list[Cell]:
    return [cell for family in found.families.values() for cell in family.cells] + list(found.optimizers.values())


def case(family: str = "text encoder", rows: int = 200, start: str = "probe", problem_type: str = "binary") -> Case:
    return Case(family, "general", rows, start, problem_type)


# -- the cells of the package --------------------------------------------------------------------------------------


def test_every_cell_has_a_source() -> None:
    for cell in cells(load_rules()):
        if cell.source.startswith("benchmarks/"):
            assert (REPOSITORY / cell.source).is_file(), cell
        assert cell.source.startswith(MEASURED) or (cell.n, cell.spread) == (0, None), cell
        assert cell.evidence


def test_a_cell_without_a_source_fails(tmp_path: Path) -> None:
    text = (presets_folder() / "rules.yaml").read_text(encoding="utf-8")
    assert read(tmp_path, text) == load_rules()
    bare = text.replace(', source: "Tang et al., AutoML 2024"', "", 1)
    with pytest.raises(ConfigError, match=r"mine\.yaml: pretrained tower, optim\.lr, cell 1: 'source' is missing"):
        read(tmp_path, bare)


def test_rules_are_read_once_and_know_the_families_of_models() -> None:
    assert load_rules() is load_rules()
    assert set(load_rules().families) >= FAMILIES


def test_what_presets_set_is_what_rules_say() -> None:
    config = resolve()
    for option in ("optim.lr_choice", "optim.lr_decay", "optim.warmup"):
        rule = load_rules().find(option, Case("text encoder", "pretrained tower", 200, "probe", "binary"))
        assert rule is not None
        assert rule.value == config[option]


def test_the_file_of_rules_is_no_preset() -> None:
    with pytest.raises(ConfigError, match="There is no preset 'rules'") as caught:
        resolve("rules")
    assert "two_stage" in str(caught.value)


# -- the nearest cell ----------------------------------------------------------------------------------------------

SOME = f"""
families:
  general:
    when: something is pretrained
    optim.lr:
      - {{value: 1e-4, {PAPER}}}
      - {{start: lora, value: 1e-3, source: benchmarks/rules.py, n: 1, spread: null}}
    optim.max_epochs:
      - {{value: 3, {PAPER}}}
      - {{problem_type: regression, value: 4, {PAPER}}}
    env.batch_size: {{value: {{steps: 40, least: 8, most: 32}}, {PAPER}}}
  text encoder:
    when: a text encoder is pretrained
    like: general
    optim.lr:
      - {{rows: 50, start: probe, value: 3e-4, source: benchmarks/rules.py, n: 12, spread: 0.01}}
      - {{rows: 200, value: 2e-4, source: benchmarks/rules.py, n: 9, spread: 0.01}}
    optim.max_epochs: {{value: 5, {PAPER}}}
    optim.warmup:
      - {{rows: 50, start: random, value: 0.2, {PAPER}}}
      - {{rows: 1000, start: random, value: 0.0, {PAPER}}}
  text and image: {{when: both are pretrained, like: text encoder}}
"""
OTHER_FAMILY = "a text encoder is pretrained ({}); no rule for text and image: that of text encoder"


@pytest.mark.parametrize(
    ("option", "asked", "value", "why"),
    [
        (
            "optim.lr",
            case(rows=60),
            3e-4,
            "a text encoder is pretrained, probe, about 50 rows (benchmark, 12 comparisons)",
        ),
        (
            "optim.lr",
            case(rows=60, start="random"),
            1e-4,
            "something is pretrained (Someone et al., ACL 2020)",
        ),
        ("optim.lr", case(rows=400), 2e-4, "a text encoder is pretrained, about 200 rows (benchmark, 9 comparisons)"),
        ("optim.lr", case(rows=5_000_000), 1e-4, "something is pretrained (Someone et al., ACL 2020)"),
        ("optim.lr", case(start="lora"), 1e-3, "something is pretrained, lora (benchmark, 1 comparison)"),
        ("optim.max_epochs", case(), 5, "a text encoder is pretrained (Someone et al., ACL 2020)"),
        (
            "optim.max_epochs",
            case(problem_type="regression"),
            4,
            "something is pretrained, regression (Someone et al., ACL 2020)",
        ),
        ("optim.max_epochs", case("text and image"), 5, OTHER_FAMILY.format("Someone et al., ACL 2020")),
        (
            "optim.max_epochs",
            case("audio"),
            3,
            "something is pretrained (Someone et al., ACL 2020); no rule for audio: that of general",
        ),
        (
            "optim.warmup",
            case(rows=5_000_000, start="random"),
            0.0,
            "a text encoder is pretrained, random, about 1,000 rows (Someone et al., ACL 2020); no rule for 5,000,000 "
            "rows: that of 1,000",
        ),
        (
            "optim.warmup",
            case(rows=1),
            0.2,
            "a text encoder is pretrained, random, about 50 rows (Someone et al., ACL 2020); no rule for probe: that "
            "of random; no rule for 1 row: that of 50",
        ),
        ("env.batch_size", case(), Steps(40, 8, 32), "something is pretrained (Someone et al., ACL 2020)"),
    ],
)
def test_the_nearest_cell_is_taken(tmp_path: Path, option: str, asked: Case, value: object, why: str) -> None:
    rule = read(tmp_path, SOME).find(option, asked)
    assert rule is not None
    assert (rule.value, rule.why) == (value, why)


def test_an_option_of_no_family_has_no_rule(tmp_path: Path) -> None:
    assert read(tmp_path, SOME).find("optim.lr_decay", case()) is None
    assert read(tmp_path, SOME).find("optim.warmup", case("general")) is None


# -- faults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("optim.lr: {value: 1, n: 0, spread: null}", "'source' is missing"),
        ("optim.lr: [3]", "cell 1: a cell is a mapping"),
        (f"optim.lr: {{value: -1, {PAPER}}}", "optim.lr: -1 is not allowed"),
        (f"optim.lr: {{value: null, {PAPER}}}", "a value of null chooses nothing"),
        (f"optim.lr: {{value: 'loguniform(1e-5, 1e-3)', {PAPER}}}", "is not allowed; it takes a number"),
        (f"optim.lr: {{value: {{steps: 1, least: 1, most: 2}}, {PAPER}}}", "is not allowed; it takes a number"),
        (f"optim.lr_choice: {{value: single, {PAPER}}}", "Did you mean 'single_lr'"),
        (f"optim.lr_chioce: {{value: single_lr, {PAPER}}}", "Did you mean 'optim.lr_choice'"),
        (f"env.batch_size: {{value: {{steps: 40, most: 8}}, {PAPER}}}", "'steps', 'least', 'most'"),
        (f"env.batch_size: {{value: {{steps: 40, least: 9, most: 8}}, {PAPER}}}", "least up to most"),
        (f"env.batch_size: {{value: {{steps: 0, least: 1, most: 8}}, {PAPER}}}", "0 is not allowed"),
        (f"optim.lr: {{rows: 100, value: 1, {PAPER}}}", "rows: 100 is not one of 50, 200, 1000, 5000"),
        (f"optim.lr: {{start: prob, value: 1, {PAPER}}}", "start: 'prob' is not one of probe, random, lora"),
        (f"optim.lr: {{problem_type: number, value: 1, {PAPER}}}", "'number' is not one of binary"),
        (f"optim.lr: {{row: 50, value: 1, {PAPER}}}", "Did you mean 'rows'"),
        ("optim.lr: {value: 1, source: a guess, n: 0, spread: null}", "'a guess' is neither a paper"),
        ("optim.lr: {value: 1, source: benchmarks/, n: 0, spread: null}", "is neither a paper"),
        ("optim.lr: {value: 1, source: 3, n: 0, spread: null}", "3 is neither a paper"),
        ("optim.lr: {value: 1, source: benchmarks/a.py, n: -1, spread: null}", "n: -1 is no number of comparisons"),
        ("optim.lr: {value: 1, source: benchmarks/a.py, n: many, spread: null}", "n: 'many' is no number"),
        ("optim.lr: {value: 1, source: benchmarks/a.py, n: 2, spread: null}", "spread: None with n: 2"),
        ("optim.lr: {value: 1, source: benchmarks/a.py, n: 1, spread: 0.1}", "spread: 0.1 with n: 1"),
        ("optim.lr: {value: 1, source: benchmarks/a.py, n: 2, spread: wide}", "spread: 'wide' with n: 2"),
        ('optim.lr: {value: 1, source: "A, ACL 2020", n: 3, spread: 0.1}', "0 comparisons of ours"),
        (f"optim.lr: [{{value: 1, {PAPER}}}, {{value: 2, {PAPER}}}]", "two cells hold for the same"),
        ("optim.lr: []", "no cell for 'optim.lr'"),
        (f"optim.lr: {{problem_type: regression, value: 1, {PAPER}}}", "holds for every problem_type"),
        ("like: general", "like: 'general' is like itself"),
        ("like: genral", "like: 'genral' is no family. Did you mean 'general'"),
        ("when: ''", "'when' says what is true"),
    ],
)
def test_a_fault_names_the_family_and_what_is_allowed(tmp_path: Path, line: str, says: str) -> None:
    name = line.partition(":")[0]
    own = "".join(one for one in WHOLE.splitlines(keepends=True) if not one.strip().startswith(f"{name}:"))
    when = "" if name == "when" else "    when: always\n"
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, f"families:\n  general:\n{when}{own}    {line}\n")
    assert says in str(caught.value)
    assert "mine.yaml: general" in str(caught.value)


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    text = f"families: {{a: 3}}\noptimizers: {{adamx: {{value: 0, {PAPER}}}}}\nother: 1\n"
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    for says in (
        "'other' is not one of families",
        "a: has to be a mapping",
        "Did you mean 'adam'",
        "0 is not allowed",
    ):
        assert says in str(caught.value)
    with pytest.raises(ConfigError, match="families: has to be a mapping"):
        read(tmp_path, "optimizers: {}\n")
    with pytest.raises(ConfigError, match=r"absent\.yaml is not there"):
        read_rules(tmp_path / "absent.yaml")


# -- what the benchmark says of the rules --------------------------------------------------------------------------


def measured(value: object, difference: float, *, option: str = "optim.lr", sets: int = 2) -> dict[str, object]:
    place = {"family": "text encoder", "rows": 200, "start": "probe", "option": option, "value": value}
    return place | {"n": 6, "sets": sets, "difference": difference, "error": 0.01, "better": 6}


@pytest.mark.parametrize(
    ("cell", "says"),
    [
        (measured(3e-4, -0.021), "text encoder, 200 rows, probe, optim.lr: 0.0003 is better than 0.0001 by 0.021"),
        (measured(3e-4, -0.019), ""),
        (measured(3e-4, -0.021, sets=1), ""),
        (measured(3e-4, 0.021), ""),
        (measured(8, -0.1, option="optim.max_epochs"), "optim.max_epochs: 8 is better than 3 by 0.100"),
    ],
)
def test_measurements_that_contradict_a_rule_are_told(cell: dict[str, object], says: str) -> None:
    lines = contradicted([cell])
    assert len(lines) == bool(says)
    assert says in "".join(lines)


def test_a_value_that_the_rules_have_by_now_is_compared_with_the_former(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = read(tmp_path, SOME)
    monkeypatch.setattr("rules.load_rules", lambda: mine)
    (line,) = contradicted([measured(2e-4, 0.1), measured(3e-4, -0.1)])
    assert "optim.lr: 0.0001 is better than 0.0002 by 0.100" in line


def test_differences_are_paired_and_data_sets_counted() -> None:
    losses = {}
    for name, seed, gain in (("a", 0, 0.1), ("a", 1, 0.2), ("b", 0, 0.3)):
        losses[Trial("text encoder", name, 200, seed, "probe")] = 1.0
        losses[Trial("text encoder", name, 200, seed, "probe", "optim.lr", 3e-4)] = 1.0 - gain
    (cell,) = table(losses)
    assert (cell["n"], cell["sets"], cell["difference"], cell["better"]) == (3, 2, -0.2, 3)
    assert contradicted([cell])
