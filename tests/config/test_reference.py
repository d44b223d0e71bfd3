"""The pages of reference have every option, preset, metric and command, with what the code says of them."""

from __future__ import annotations

import re

from thermocline.cli import _parser
from thermocline.cli.parts import EXITS
from thermocline.cli.reference import WIDTH, commands, commands_markdown
from thermocline.config import preset_names, read_preset, schema_of
from thermocline.config.reference import metrics_markdown, options_markdown, presets_markdown
from thermocline.registry import problem_infos


def test_options() -> None:
    page = options_markdown()
    assert page.startswith("# Options\n")
    parts = dict(re.findall(r"^### `([\w.]+)`\n(.*?)(?=^##|\Z)", page, flags=re.MULTILINE | re.DOTALL))
    keys = schema_of().keys
    assert set(parts) == set(keys)
    for path, key in keys.items():
        assert key.doc in parts[path]
        assert f"- takes {key.allowed}\n" in parts[path]
        assert ("cannot vary" in parts[path]) != key.varies
    assert len(re.findall("^## ", page, flags=re.MULTILINE)) == len({path.rpartition(".")[0] for path in keys})


def test_presets() -> None:
    page = presets_markdown()
    parts = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", page, flags=re.MULTILINE | re.DOTALL))
    assert list(parts) == preset_names()
    for name, part in parts.items():
        preset = read_preset(name)
        assert preset.purpose in part
        for path in preset.values:
            assert f"| `{path}` |" in part
        assert all(f"- `{subject}`: " in part for subject in preset.why)


def test_metrics() -> None:
    page = metrics_markdown()
    for info in problem_infos():
        for one in info.metrics:
            lines = re.findall(rf"^\| `{re.escape(one.name)}(?::…)?`.*$", page, flags=re.MULTILINE)
            held = f"| {'more' if one.greater_is_better else 'less'} | {', '.join(one.problem_types)} |"
            assert sum(held in line for line in lines) == 1  # kinds may have a metric of the same name
    assert "| binary | `roc_auc` |" in page


def test_commands() -> None:
    page = commands_markdown()
    found = [one.prog for one in commands(_parser())]
    assert re.findall(r"^## (.*)$", page, flags=re.MULTILINE) == found
    assert {"thermocline", "thermocline predict", "thermocline presets copy", "thermocline options"} <= set(found)
    assert max(map(len, page.splitlines())) <= WIDTH
    for number, words in EXITS.items():
        assert f"| {number} | {words} |" in page
