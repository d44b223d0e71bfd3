"""The moving average of a model's weights."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from thermocline.errors import ConfigError
from thermocline.training.ema import Ema


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))


def average_of(ema: Ema) -> dict[str, torch.Tensor]:
    """The average, each tensor under its first name."""
    with ema.swapped() as averaged:
        first = {id(value): name for name, value in reversed(averaged.state_dict(keep_vars=True).items())}
        return {name: averaged.state_dict()[name].clone() for name in first.values()}


def step(model: nn.Module, number: int) -> None:
    generator = torch.Generator().manual_seed(number)
    model.train()
    model(torch.randn(8, 3, generator=generator))  # moves the statistics
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator))


def test_the_average_is_that_of_the_formula() -> None:
    model = net()
    ema = Ema(model, 0.9, warmup=5)
    expected = {name: value.clone() for name, value in model.state_dict().items()}
    for number in range(1, 9):
        step(model, number)
        ema.update()
        rate = 0.9 * (1 - math.exp(-number / 5))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                expected[name] = rate * expected[name] + (1 - rate) * value
            else:
                expected[name] = value.clone()
    average = average_of(ema)
    assert set(average) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(average[name], value)
    assert "1.running_var" in average


def test_a_constant_rate_without_warmup() -> None:
    model = net()
    ema = Ema(model, 0.99, warmup=0)
    assert ema.rate == 0.99


def test_what_is_frozen_stays_bit_for_bit() -> None:
    model = net()
    model[0].requires_grad_(False)
    before = model[0].weight.clone()
    ema = Ema(model, 0.7, warmup=0)
    for number in range(20):
        step(model, number)
        ema.update()
    assert torch.equal(average_of(ema)["0.weight"], before)


def test_swapping_puts_everything_back_even_after_an_error() -> None:
    model = net()
    ema = Ema(model, 0.5, warmup=0)
    step(model, 1)
    ema.update()
    now = {name: value.clone() for name, value in model.state_dict().items()}

    def validate() -> None:
        with ema.swapped() as averaged:
            assert not torch.equal(averaged.state_dict()["0.weight"], now["0.weight"])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        validate()
    assert all(torch.equal(value, now[name]) for name, value in model.state_dict().items())


def test_a_resumed_average_continues_bit_for_bit() -> None:
    whole, halves = net(), net()
    straight, first = Ema(whole, 0.9), Ema(halves, 0.9)
    for number in range(6):
        step(whole, number)
        straight.update()
        step(halves, number)
        first.update()
        if number == 2:
            average, now, steps = average_of(first), average_of(Ema(halves, 0.9)), first.steps
            first = Ema(halves, 0.9)  # as a checkpoint is restored
            halves.load_state_dict(average)
            first.reset_to_model()
            halves.load_state_dict(now)
            first.steps = steps
    assert straight.steps == first.steps == 6
    a, b = average_of(straight), average_of(first)
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_tied_weights_are_moved_once() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    ema = Ema(model, 0.5, warmup=0)
    start = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight.add_(1.0)
    ema.update()
    torch.testing.assert_close(average_of(ema)["0.weight"], start + 0.5)
    assert "1.weight" not in average_of(ema)


def test_faults_are_named() -> None:
    for decay in (1.0, -0.1, float("nan")):
        with pytest.raises(ConfigError, match="ema must be"):
            Ema(net(), decay)
    with pytest.raises(ConfigError, match="warmup"):
        Ema(net(), 0.9, warmup=-1)
