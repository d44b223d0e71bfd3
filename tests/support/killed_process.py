"""A fit in a process of its own, which is killed with SIGKILL after a checkpoint."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

_DYING = """
import os, signal, sys
import torch
torch.set_num_threads(1)
from thermocline.training.trainer import Trainer
original = Trainer.save_checkpoint
def dying(self, optimizer):
    original(self, optimizer)
    if self.cursor.step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)
Trainer.save_checkpoint = dying
"""


def run_until_killed(job: str, *arguments: object, step: int) -> None:
    """Run Python code that fits; it is killed as soon as the checkpoint of a step is written.

    Args:
        job: The code; it may import `support`.
        arguments: What it finds in `sys.argv[1:]`.
        step: Of the checkpoint.
    """
    command = [sys.executable, "-c", _DYING.format(step=step) + job, *map(str, arguments)]
    paths = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])}
    ran = subprocess.run(command, env=paths, capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
