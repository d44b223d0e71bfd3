"""A real process, killed with SIGKILL at random moments and run again, ends as one that was left alone."""

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from safetensors.torch import load_file

KILLS = {"plateaus": 7, "muon": 3, "own": 3, "rates": 3}


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize(("job", "kills"), KILLS.items())
def test_killed_many_times_is_never_killed(tmp_path, job, kills):
    command = [sys.executable, "-m", "support.killed", str(tmp_path), str(kills), job]
    ran = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parent)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    assert len(told["steps"]) == kills
    assert len(set(told["steps"])) > kills // 2  # it did go on in between
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    one, two = (load_file(folder / "model.safetensors") for folder in (whole, killed))
    assert one.keys() == two.keys()
    assert (whole / "model.safetensors").read_bytes() == (killed / "model.safetensors").read_bytes()
    for name in ("plan.json", "task.json", "columns.json", "layers.json", "rates.json", "facts.json"):
        ours, theirs = ((folder / name).read_text() for folder in (whole, killed))
        assert ours == theirs, name
    left, right = (pd.DataFrame(json.loads((f / "history.json").read_text())) for f in (whole, killed))
    assert left.drop(columns="seconds").to_json() == right.drop(columns="seconds").to_json()
    logs = [(tmp_path / f"{name}-logs" / "metrics.csv").read_bytes() for name in ("whole", "killed")]
    assert logs[0] == logs[1]
    diaries = [(tmp_path / f"{name}-diary.json").read_text() for name in ("whole", "killed")]
    assert diaries[0] == diaries[1]  # a callback that remembers has seen each moment once
    assert len(json.loads(diaries[0])) > 100
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "killed",
        "killed-diary.json",
        "killed-logs",
        "warm",
        "warm-logs",
        "whole",
        "whole-diary.json",
        "whole-logs",
    ]
