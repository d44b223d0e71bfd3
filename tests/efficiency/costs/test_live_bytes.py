from __future__ import annotations

import pytest

from thermocline.efficiency.costs.live_bytes import CUDA_BASE, OVERHEAD, LiveBytes, beyond_base, needed_to_run

STEP = LiveBytes(100, 5, 200, 0, 10, 50, 7, 20)


def test_the_peak_is_of_training_or_validation():
    assert STEP.lasting == 305
    assert STEP.training == STEP.peak == 372
    valid = LiveBytes(100, 5, 200, 0, 10, 50, 7, 200)
    assert valid.peak == 505
    assert LiveBytes.of_phases([STEP, None, valid]) is valid
    assert LiveBytes.of_phases([None]) is None


@pytest.mark.parametrize("device", ["cpu", "cuda", "mps"])
def test_what_is_needed_is_more_than_what_is_live(device):
    large = LiveBytes(*[10**9] * 8)
    assert beyond_base(large, device) >= large.peak * min(OVERHEAD.values())
    base = CUDA_BASE if device == "cuda" else 300
    assert needed_to_run(large, device, base=300) == base + beyond_base(large, device)
