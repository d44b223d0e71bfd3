"""What a launcher left in the environment: a fit is one process by itself, whatever is there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from support.assemblies import prepared_and_assembled
from support.tiny import TINY, make_table

LAUNCHED = {
    **{"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2", "GROUP_RANK": "0"},
    **{"MASTER_ADDR": "203.0.113.1", "MASTER_PORT": "29500", "TORCHELASTIC_RUN_ID": "none"},
    **{"OMPI_COMM_WORLD_SIZE": "2", "OMPI_COMM_WORLD_RANK": "1", "PMI_SIZE": "2", "PMI_RANK": "1"},
    **{"SLURM_NTASKS": "2", "SLURM_PROCID": "1", "CCL_WORKER_COUNT": "1"},
    **{"ACCELERATE_USE_FSDP": "true", "ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_USE_MEGATRON_LM": "true"},
    **{"ACCELERATE_MIXED_PRECISION": "fp8", "ACCELERATE_DYNAMO_BACKEND": "none of these", "ACCELERATE_USE_CPU": "?"},
    **{"ACCELERATE_TORCH_DEVICE": "cuda:7", "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "x", "FSDP_VERSION": "9"},
    **{"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", "PYTORCH_ENABLE_MPS_FALLBACK": "1"},
}
FIT = """
import sys
from pathlib import Path
from support.tiny import TINY, make_texts, save_text
from thermocline import Predictor
shape = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
folder = save_text(Path(sys.argv[1]), "bert", **shape)
options = {"env.device": "cpu", "optim.max_epochs": 1, "model.text.checkpoint": str(folder), "env.precision": "bf16"}
predictor = Predictor("y", verbosity=0).fit(make_texts(24), hyperparameters=options)
print([note for note in predictor.history["note"] if "WORLD_SIZE" in note])
assert len(Predictor.load(predictor.save(folder / "saved"), verbosity=0).predict(make_texts(4))) == 4
"""


def test_variables_of_launchers_are_not_followed(tmp_path):
    environment = {**os.environ, **LAUNCHED, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", FIT, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("['WORLD_SIZE=2, RANK=1, LOCAL_RANK=1 of the environment are without effect: a fit ")


@pytest.mark.parametrize("value", ["1", "two", ""])
def test_that_they_are_without_effect_is_said(value, monkeypatch):
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    notes = prepared_and_assembled(make_table(), TINY)[0].notes
    assert not any("environment" in note for note in notes)
    monkeypatch.setenv("LOCAL_RANK", value)
    notes = prepared_and_assembled(make_table(), TINY)[0].notes
    assert notes[-1].startswith(f"LOCAL_RANK={value} of the environment is without effect")
