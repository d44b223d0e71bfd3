"""Device and precision: chosen with a reason."""

from contextlib import suppress

import pytest
import torch

from thermocline.data.moving import to_device
from thermocline.errors import ConfigError
from thermocline.training.device import Precision, choose_device, choose_precision, kernels


def test_what_is_given_is_taken():
    assert choose_device("cpu") == ("cpu", "given")
    assert choose_precision("bf16", "cpu") == ("bf16", "given")


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_fp16_without_a_gpu_is_told(device):
    """It would compute in 32 bits."""
    with pytest.raises(ConfigError, match=r"env\.precision.*bf16"):
        choose_precision("fp16", device)
    assert choose_precision("fp16", "cuda") == ("fp16", "given")


def test_a_device_that_is_not_there(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match=r"env\.device is 'cuda'.*Present: \[.*'cpu'"):
        choose_device("cuda")


@pytest.mark.parametrize(
    ("cuda", "mps", "chosen"),
    [(False, False, "cpu"), (True, False, "cuda"), (False, True, "mps"), (True, True, "cuda")],
)
def test_auto_takes_the_fastest(cuda, mps, chosen, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert choose_device("auto")[0] == chosen


@pytest.mark.parametrize(
    ("device", "bf16", "chosen"), [("cpu", True, "fp32"), ("cuda", True, "bf16"), ("cuda", False, "fp16")]
)
def test_precision_fits_the_device(device, bf16, chosen, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)
    assert choose_precision("auto", device)[0] == chosen


def test_the_precision_can_change_within_a_process():
    for precision in ("fp32", "bf16", "fp32", "bf16"):
        made = Precision.of("cpu", precision)
        with made.autocast():
            out = torch.nn.functional.linear(torch.ones(1, 2), torch.ones(1, 2))
        assert out.dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)
        assert made.device.type == "cpu"
        assert made.scaler is None


def test_nested_batches_are_moved():
    batch = {"a": torch.ones(2), "b": {"c": torch.zeros(1)}}
    moved = to_device(batch, torch.device("meta"))
    assert moved["b"]["c"].device.type == "meta"
    here = to_device(batch, torch.device("cpu"))
    assert here["a"] is batch["a"]  # no copy where nothing is to be done


def settings():
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.benchmark


def test_fast_kernels_are_set_for_cuda_alone_and_put_back():
    before = settings()
    for choice, device, inside in [
        ("fast", "cuda", ("high", True)),
        ("exact", "cuda", before),
        ("fast", "cpu", before),
    ]:
        with suppress(ZeroDivisionError), kernels(choice, torch.device(device)):
            assert settings() == inside
            raise ZeroDivisionError
        assert settings() == before
