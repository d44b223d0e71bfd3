"""What belongs to the whole process is as it was: after the import, after the first fit, and after all that follows."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = '''
import faulthandler, locale, logging, os, random, signal, sys, threading, warnings
from pathlib import Path
import numpy as np
import pandas as pd

def library_state():
    """Of libraries that are imported before."""
    if "torch" not in sys.modules:
        return {}
    import torch
    return {
        "torch numbers": torch.get_rng_state().tolist(),
        "torch threads": (torch.get_num_threads(), torch.get_num_interop_threads()),
        "torch defaults": (torch.get_default_dtype(), str(torch.get_default_device()), torch.is_grad_enabled()),
        "torch exactness": (
            torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark,
            torch.backends.cudnn.deterministic, torch.get_float32_matmul_precision(),
            torch.backends.cuda.matmul.allow_tf32, torch.is_autocast_enabled("cpu"),
        ),
        "sharing": torch.multiprocessing.get_sharing_strategy(),
        "transformers": None if "transformers" not in sys.modules else levels("transformers"),
    }

def levels(name):
    logger = logging.getLogger(name)
    return logger.level, logger.propagate, logger.disabled, [type(one).__name__ for one in logger.handlers]

def state():
    mask = os.umask(0)
    os.umask(mask)
    numbers = np.random.get_state()
    return {
        "variables": dict(os.environ), "random": random.getstate(), "numpy": (numbers[1].tolist(), *numbers[2:]),
        "filters": list(warnings.filters), "shown": (warnings.showwarning, warnings.formatwarning),
        "folder": os.getcwd(), "mask": mask, "path": list(sys.path),
        "signals": [signal.getsignal(one) for one in sorted(signal.valid_signals())],
        "hooks": (sys.excepthook, threading.excepthook, sys.stdout, sys.stderr, faulthandler.is_enabled()),
        "limits": (sys.getrecursionlimit(), sys.getswitchinterval(), locale.setlocale(locale.LC_ALL)),
        "errors": (np.geterr(), str(np.get_printoptions())), "pandas": pd.get_option("display.max_rows"),
        "root": (levels(None), logging.root.manager.disable), "threads": threading.active_count(),
        "timm": levels("timm"), "PIL": levels("PIL"), "hub": levels("huggingface_hub"),
        "backend": sys.modules["matplotlib"].rcParams._get("backend") if "matplotlib" in sys.modules else None,
    } | library_state()

def same(before, where):
    after = state()
    changed = {name for name in before if name != "backend" and before[name] != after[name]}
    assert not changed, (where, {name: (before[name], after[name]) for name in changed if name != "random"}, changed)
    return after

random.seed(3)
now = state()
import thermocline
from thermocline import Predictor
now = same(now, "import")
rng = np.random.default_rng(0)
frame = pd.DataFrame({"x": rng.normal(size=40), "c": ["a", "b"] * 20})
frame["y"] = np.where(frame["x"] > 0, "yes", "no")
options = {"env.device": "cpu", "optim.max_epochs": 1, "model.table.width": 16, "model.table.blocks": 1}
folder = Path(sys.argv[1])
predictor = Predictor("y", path=folder / "a", verbosity=0).fit(frame, hyperparameters=options)
now = same(now, "fit")
now |= library_state()
predictor.predict(frame), predictor.predict_proba(frame), predictor.evaluate(frame), predictor.embed(frame)
now = same(now, "predict")
predictor.save(folder / "b")
Predictor.load(folder / "b", verbosity=0).predict(frame)
now = same(now, "save and load")
predictor.explain(frame, hyperparameters=options)
str(predictor.plan), predictor.plan._repr_html_(), predictor.plan.plot(), predictor.history.plot()
now = same(now, "explain")
spaces = options | {"optim.lr": "loguniform(1e-4, 1e-2)"}
Predictor("y", path=folder / "c", verbosity=0).fit(frame, hyperparameters=spaces, search={"trials": 2})
now = same(now, "search")
drawn = random.random()
Predictor("y", verbosity=0).fit(frame, hyperparameters=options)
same(now | {"random": random.getstate()}, "a second fit")
'''


def test_the_whole_process_is_as_it_was(tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KMP_", "TORCH", "TOKEN"))}
    environment |= {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == done.stderr == ""
