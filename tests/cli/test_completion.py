"""Scripts of completion: the one of bash is run; those of other shells have the same words."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from thermocline.cli import main
from thermocline.cli.completion import SHELLS
from thermocline.config import preset_names, schema_of

TRY = """
complete_words() {
  COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
  _shtab_thermocline
  echo "${COMPREPLY[@]}"
}
"""


@pytest.fixture(scope="module")
def scripts():
    import contextlib
    import io

    found = {}
    for shell in SHELLS:
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            assert main(["completion", shell]) == 0
        found[shell] = said.getvalue()
    return found


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_has_commands_flags_presets_and_options(scripts, shell):
    script = scripts[shell]
    for word in ("recommend", "evaluate", "time-limit", "proba-only", *preset_names(), *schema_of().keys):
        assert word in script, word
    assert "Traceback" not in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_bash_completes(scripts, tmp_path):
    (tmp_path / "rows.csv").touch()
    tries = {
        ("re",): ["recommend"],
        ("fit", "--mem"): ["--memory"],
        ("fit", "rows.csv", "--presets", "off"): ["offline"],
        ("fit", "rows.csv", "--presets", "offline", "two"): ["two_stage"],
        ("fit", "rows.csv", "--set", "optim.lr_d"): ["optim.lr_decay"],
        ("explain", "rows.csv", "--set", "optim.lr_d"): ["optim.lr_decay"],
        ("options", "optim.wa"): ["optim.warmup"],
        ("presets", ""): ["ls", "show", "copy"],
        ("presets", "show", "offl"): ["offline"],
        ("fit", "ro"): ["rows.csv"],
    }
    lines = [f"complete_words thermocline {' '.join(repr(word) for word in words)}" for words in tries]
    whole = "\n".join([scripts["bash"], TRY, *lines])
    done = subprocess.run(["bash", "-c", whole], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stderr == ""
    assert dict(zip(tries, map(str.split, done.stdout.splitlines()), strict=True)) == tries
