"""One convolution in place of a convolution and a BatchNorm with given statistics, and its gradients.

The norm is a scale and a shift per channel, which are multiplied into weight and bias. No folded weight is kept for
the backward pass: it folds once more, for one product of the size of the weight.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

#: The functions whose calls can be folded.
CONVOLVE = (torch.conv1d, torch.conv2d, torch.conv3d)


def folded(norm: _BatchNorm, args: Any, kwargs: Any) -> Tensor | None:
    """Convolve and normalise at once.

    Args:
        norm: Has running statistics; they are taken as given.
        args: Of one of `CONVOLVE`, shaped `(rows, channels, …)`.
        kwargs: Likewise.

    Returns:
        None for a call that is better not folded: nothing before the norm trains (a pair of which only the norm trains
        saves less unfolded, since the convolution then saves nothing), or the shapes or types do not fit each other.
    """
    call = _read(*args, **kwargs)
    x, weight = call.x, call.weight
    lowered = _autocast_to(x)
    fits = x.dim() == weight.dim() and len(weight) == norm.num_features and (lowered or x.dtype is weight.dtype)
    if not fits or not (x.requires_grad or weight.requires_grad):
        return None
    scaling = (norm.weight, norm.bias, norm.running_mean, norm.running_var, norm.eps)
    out: Tensor = _Folded.apply(x.to(lowered or x.dtype), weight, call.bias, *scaling, call.geometry)
    return out


class _Geometry(NamedTuple):
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int


class _Call(NamedTuple):
    """A call of a convolution, padding in numbers."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    geometry: _Geometry


def _read(  # noqa: PLR0913 - the arguments of torch's convolutions
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> _Call:
    """Read the arguments of `torch.conv1d`, `conv2d` or `conv3d`."""
    sides = weight.dim() - 2
    dilated = _each(dilation, sides)
    x, pads = _padded(input, weight, padding, dilated) if isinstance(padding, str) else (input, _each(padding, sides))
    return _Call(x, weight, bias, _Geometry(_each(stride, sides), pads, dilated, groups))


def _autocast_to(x: Tensor) -> torch.dtype | None:
    """The type in which autocast has a convolution of `x` compute, if it is on; it leaves float64 alone."""
    kind = x.device.type
    if x.dtype is torch.float64 or not torch.amp.is_autocast_available(kind) or not torch.is_autocast_enabled(kind):
        return None
    return torch.get_autocast_dtype(kind)


def _each(value: Any, sides: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * sides if len(values) == 1 else values


def _padded(x: Tensor, weight: Tensor, padding: str, dilation: tuple[int, ...]) -> tuple[Tensor, tuple[int, ...]]:
    """Return the input and what is still to be padded on both sides; torch pads an odd rest at the end."""
    if padding == "valid":
        return x, (0,) * len(dilation)
    totals = [d * (k - 1) for d, k in zip(dilation, weight.shape[2:], strict=True)]
    if any(total % 2 for total in totals):
        x = F.pad(x, [side for total in reversed(totals) for side in (0, total % 2)])
    return x, tuple(total // 2 for total in totals)


def _scales(gamma: Tensor | None, var: Tensor, eps: float, *, sides: int) -> tuple[Tensor, Tensor]:
    """Return 1 / σ and γ / σ, at least in float32, shaped `(out, 1, …)` as a weight's rows."""
    wide = torch.promote_types(var.dtype, torch.float32)
    inverse = (var.to(wide) + eps).rsqrt().view(-1, *[1] * (sides + 1))
    return inverse, inverse if gamma is None else inverse * gamma.to(wide).view_as(inverse)


def _layout(x: Tensor) -> torch.memory_format:
    """The memory format that a gradient of `x` should have."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    if last is None or x.is_contiguous() or not x.is_contiguous(memory_format=last):
        return torch.contiguous_format
    return last


class _Folded(torch.autograd.Function):
    """`batch_norm(conv(x, weight, bias))` with given statistics; saves `x` and the tensors of the modules.

    With s = γ/σ: W' = s W and b' = s (b − μ) + β. With G' the gradient of W' and g' that of b', the gradients are
    s G' of W, s g' of b, g' of β, and (⟨G', W⟩ + g' (b − μ)) / σ of γ, the product taken per output channel.
    """

    @staticmethod
    def forward(  # noqa: PLR0913 - each tensor with a gradient is an argument of its own
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        gamma: Tensor | None,
        beta: Tensor | None,
        mean: Tensor,
        var: Tensor,
        eps: float,
        geometry: _Geometry,
    ) -> Tensor:
        _, scale = _scales(gamma, var, eps, sides=len(geometry.stride))
        shift = -mean if bias is None else bias - mean
        shift = shift * scale.flatten() if beta is None else torch.addcmul(beta, shift, scale.flatten().to(beta.dtype))
        folded, shift = (weight * scale).to(x.dtype), shift.to(x.dtype)
        stride, padding, dilation, groups = geometry
        return torch.convolution(
            x,
            folded,
            shift,
            stride,
            padding,
            dilation,
            transposed=False,
            output_padding=(0,) * len(stride),
            groups=groups,
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, _: Any) -> None:
        """Save the input only where a weight or a scale has a gradient."""
        x, weight, bias, gamma, _beta, mean, var, ctx.eps, ctx.geometry = inputs
        ctx.shape, ctx.layout = x.shape, _layout(x)
        save = ctx.needs_input_grad[1] or ctx.needs_input_grad[3]
        ctx.save_for_backward(x if save else None, weight, bias, gamma, mean, var)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        """Fold once more; every step is differentiable, so that a second derivative is right too."""
        (grad,) = grads
        x, weight, bias, gamma, mean, var = ctx.saved_tensors
        for_x, for_weight, for_bias, for_gamma, for_beta = ctx.needs_input_grad[:5]
        inverse, scale = _scales(gamma, var, ctx.eps, sides=len(ctx.geometry.stride))
        folded = (weight * scale).to(grad.dtype)
        if x is None:  # only its shape is asked for; without strides that tell the format, the weight must
            x = grad.new_empty(1).expand(ctx.shape)
            folded = folded.contiguous(memory_format=ctx.layout)
        mask = [for_x, for_weight or for_gamma, for_bias or for_gamma or for_beta]
        d_x, d_folded, d_shift = _convolution_backward(grad, x, folded, ctx.geometry, mask)
        d_gamma, d_weight = None, None
        if for_gamma:
            through_weight = torch.linalg.vecdot(d_folded.flatten(1), weight.flatten(1).to(d_folded.dtype))
            through_shift = d_shift * (-mean if bias is None else bias - mean)
            d_gamma = ((through_weight + through_shift) * inverse.flatten()).to(gamma.dtype)
        if for_weight:  # in place unless this is differentiated: a new large tensor costs more than the product
            d_weight = (d_folded * scale if torch.is_grad_enabled() else d_folded.mul_(scale)).to(weight.dtype)
        d_bias = (d_shift * scale.flatten()).to(bias.dtype) if for_bias else None
        d_beta = d_shift if for_beta else None
        return d_x, d_weight, d_bias, d_gamma, d_beta, None, None, None, None


def _convolution_backward(grad: Tensor, x: Tensor, weight: Tensor, geometry: _Geometry, mask: list[bool]) -> Any:
    """Gradients of a convolution with a bias, each only where the mask has it; those per weight at least float32."""
    stride, padding, dilation, groups = geometry
    d_x, d_weight, d_bias = torch.ops.aten.convolution_backward(
        grad,
        x,
        weight,
        [len(weight)],
        stride,
        padding,
        dilation,
        transposed=False,
        output_padding=[0] * len(stride),
        groups=groups,
        output_mask=mask,
    )
    wide = torch.promote_types(grad.dtype, torch.float32)
    return d_x, d_weight.to(wide) if mask[1] else None, d_bias.to(wide) if mask[2] else None
