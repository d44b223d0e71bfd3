"""A folded pair computes what the plain one computes, keeps half, and leaves nothing behind."""

import copy
import pickle
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint

from thermocline.efficiency.memory.conv_bn import ConvBN, Pair
from thermocline.efficiency.memory.conv_bn_pairs import pairs_of
from thermocline.errors import LayerMapError

FAMILIES = {
    "resnet18": (64, 1.0),
    "regnety_002": (64, 1.0),
    "tf_efficientnet_b0": (64, 1.0),
    "mobilenetv3_small_100": (64, 1.0),
    "vgg11_bn": (32, 1.0),
    "densenet121": (64, 59 / 120),  # its norms come first; those within a layer follow a convolution
    "hrnet_w18_small": (64, 1.0),
    "cspresnet50": (64, 1.0),
}


def lively(model, seed=0):
    """Weights, scales and statistics of which none is nought or one; in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                for tensor, low in ((module.weight, 0.5), (module.bias, -0.5), (module.running_var, 0.5)):
                    if tensor is not None:
                        tensor.copy_(low + torch.rand(tensor.shape, generator=generator))
                module.running_mean.copy_(torch.randn(module.running_mean.shape, generator=generator) * 0.3)
    return model.eval()


def small(**options):
    torch.manual_seed(0)
    return lively(
        nn.Sequential(
            nn.Conv2d(3, 8, 3, bias=False, **options),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 8, 3),
            nn.BatchNorm2d(8),
        ).double()
    )


def images(*shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def gradients(model, x, loss=lambda y: y.pow(2).sum()):
    """The output, and the gradients of what wants one; by hand, so that nothing is left in the model."""
    out = model(x)
    wanted = [t for t in (x, *model.parameters()) if t.requires_grad]
    return [out, *torch.autograd.grad(loss(out), wanted)]


def worst(ours, plain):
    """The largest difference as a share of the largest value, over pairs of tensors."""
    assert len(ours) == len(plain)
    largest = [max(float(b.detach().abs().max()), 1e-30) for b in plain]
    return max(float((a - b).detach().abs().max()) / m for a, b, m in zip(ours, plain, largest, strict=True))


def kept_bytes(run, model):
    """Bytes of the storages that the backward pass keeps, without those of parameters."""
    own = {p.untyped_storage()._cdata for p in model.parameters()}  # a place that shapes without data have too
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in own:
            kept[storage._cdata] = storage  # held, so that no other takes its place
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        out = run()
    assert out.requires_grad
    return sum(storage.nbytes() for storage in kept.values())


# -- the numbers -----------------------------------------------------------------------------------


@st.composite
def single(draw):
    """A convolution and a norm in one to three dimensions, and an input."""
    sides = draw(st.integers(1, 3))
    groups = draw(st.sampled_from([1, 2, 4]))
    depthwise = draw(st.booleans())
    wide = groups * draw(st.integers(1, 2))
    out = wide * draw(st.integers(1, 2)) if depthwise else groups * draw(st.integers(1, 3))
    padding = draw(st.sampled_from([0, 1, 2, "same", "valid"]))
    options = {
        "kernel_size": draw(st.tuples(*[st.integers(1, 3)] * sides)),
        "stride": 1 if padding == "same" else draw(st.integers(1, 2)),
        "padding": padding,
        "dilation": draw(st.integers(1, 2)),
        "groups": wide if depthwise else groups,
        "bias": draw(st.booleans()),
        "padding_mode": draw(st.sampled_from(["zeros", "reflect", "circular"])),
    }
    conv = getattr(nn, f"Conv{sides}d")(wide, out, **options)
    norm = getattr(nn, f"BatchNorm{sides}d")(out, affine=draw(st.booleans()), eps=draw(st.sampled_from([1e-5, 0.1])))
    model = lively(nn.Sequential(conv, norm).double(), seed=draw(st.integers(0, 9)))
    assume(any(p.requires_grad for p in model.parameters()))
    return model, images(draw(st.integers(1, 3)), wide, *[6] * sides).requires_grad_(draw(st.booleans()))


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@settings(max_examples=40, deadline=None, derandomize=True)
@given(single())
def test_a_pair_of_any_shape_has_the_same_gradients(case):
    model, x = case
    plain = gradients(model, x)
    with ConvBN(model, [Pair("0", "1")]).installed():
        ours = gradients(model, x)
        assert "Folded" in ours[0].grad_fn.name()
    assert worst(ours, plain) <= 1e-12


@pytest.mark.parametrize("name", FAMILIES)
def test_families_have_the_same_gradients(name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    size, share = FAMILIES[name]
    model = timm.create_model(name, num_classes=3).double()
    if name.startswith("vgg"):
        model = model.features  # the head alone has a hundred million weights
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None  # one batch is what the statistics are of
    with torch.no_grad():
        model(images(4, 3, size, size, seed=5))
    model.eval()
    x = images(2, 3, size, size)
    pairs = pairs_of(model, images(1, 3, size, size))
    assert not [pair for pair in pairs if pair.note]
    norms = sum(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())
    assert len(pairs) >= share * (norms - 1)
    plain = gradients(model, x)
    with ConvBN(model, pairs).installed():
        ours = gradients(model, x)
    assert worst(ours, plain) <= 1e-12


@pytest.mark.parametrize("frozen", [(), ("weight",), ("gamma", "beta"), ("weight", "bias"), ("gamma",), ("beta", "x")])
def test_only_what_is_wanted_is_computed(frozen):
    model = lively(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).double())
    named = {"weight": model[0].weight, "bias": model[0].bias, "gamma": model[1].weight, "beta": model[1].bias}
    x = images(2, 3, 6, 6).requires_grad_("x" not in frozen)
    for name in set(frozen) - {"x"}:
        named[name].requires_grad_(False)
    plain = gradients(model, x)
    with ConvBN(model, [Pair("0", "1")]).installed():
        ours = gradients(model, x)
        assert "Folded" in ours[0].grad_fn.name()
    assert worst(ours, plain) <= 1e-12


def test_second_derivatives():
    model = lively(nn.Sequential(nn.Conv2d(2, 2, 2), nn.BatchNorm2d(2)).double())
    x = images(1, 2, 3, 3).requires_grad_()
    with ConvBN(model, [Pair("0", "1")]).installed():
        assert torch.autograd.gradgradcheck(lambda x, *_: model(x), (x, *model.parameters()))
        model.requires_grad_(False)
        assert torch.autograd.gradgradcheck(model, (x,))  # nothing of the input was kept


@pytest.mark.parametrize(("dtype", "bound"), [(torch.bfloat16, 0.05), (torch.float32, 1e-5)])
def test_low_precision(dtype, bound):
    exact = small()
    x = images(2, 3, 12, 12)
    truth = gradients(exact, x)
    model = copy.deepcopy(exact).to(dtype)
    with ConvBN(model, pairs_of(model, x.to(dtype))).installed():
        ours = gradients(model, x.to(dtype))
    assert {t.dtype for t in ours} == {dtype}
    assert worst([t.double() for t in ours], truth) <= bound


def test_autocast():
    exact = small()
    x = images(2, 3, 12, 12)
    truth = gradients(exact, x)
    model = copy.deepcopy(exact).float()
    folding = ConvBN(model, pairs_of(model, x.float()))

    def run():
        with torch.autocast("cpu", torch.bfloat16):
            return gradients(model, x.float(), lambda y: y.float().pow(2).sum())

    def keep():
        with torch.autocast("cpu", torch.bfloat16):
            return kept_bytes(lambda: model(x.float()), model)

    plain, before = run(), keep()
    with folding.installed():
        ours = run()
        assert keep() < 0.7 * before
    assert [t.dtype for t in ours] == [t.dtype for t in plain] == [torch.bfloat16] + [torch.float32] * 7
    off = worst([t.double() for t in plain], truth)
    assert worst([t.double() for t in ours], truth) <= 2 * off


@pytest.mark.parametrize("weights", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("trains", [True, False])
def test_channels_last_stays(weights, trains):
    model = small().to(memory_format=weights).requires_grad_(trains)
    leaf = images(2, 3, 8, 8).to(memory_format=torch.channels_last).requires_grad_()
    plain = gradients(model, leaf)
    with ConvBN(model, pairs_of(model, leaf.detach())).installed():
        ours = gradients(model, leaf)
    for a, b in zip(ours[:2], plain[:2], strict=True):
        assert a.stride() == b.stride()
        assert a.is_contiguous(memory_format=torch.channels_last)


# -- what is kept ----------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [2, 8, 32])
def test_a_resnet_keeps_half(batch):
    timm = pytest.importorskip("timm")
    model = timm.create_model("resnet50", num_classes=10).eval()
    pairs = pairs_of(model, torch.rand(1, 3, 64, 64))
    shapes = copy.deepcopy(model).to("meta")  # counted on shapes alone
    x = torch.empty(batch, 3, 224, 224, device="meta")

    plain = kept_bytes(lambda: shapes(x), shapes)
    with ConvBN(shapes, pairs).installed():
        assert kept_bytes(lambda: shapes(x), shapes) <= 0.50 * plain


def test_a_frozen_pair_keeps_nothing():
    model = lively(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))).requires_grad_(False)
    x = images(2, 3, 8, 8, dtype=torch.float32).requires_grad_()
    with ConvBN(model, [Pair("0", "1")]).installed():
        statistics = sum(b.nbytes for b in model.buffers() if b.is_floating_point())
        assert kept_bytes(lambda: model(x), model) <= statistics


# -- when it is plain ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        lambda model: model[1].train(),
        lambda model: model.requires_grad_(False),
        lambda model: model[0].requires_grad_(False),
        lambda model: model[0].register_forward_hook(lambda *_: None),
        lambda model: model[1].register_forward_pre_hook(lambda *_: None),
    ],
    ids=["train mode", "frozen", "only the norm trains", "hook", "pre-hook"],
)
def test_otherwise_the_plain_forward_runs(change):
    model = small()[:2]
    change(model)
    plain, x = copy.deepcopy(model), images(2, 3, 8, 8)
    with ConvBN(model, [Pair("0", "1")]).installed():
        ours = model(x)
    assert torch.equal(ours, plain(x))
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), plain.buffers(), strict=True))


def test_inference_is_bit_for_bit_the_same():
    model, x = small(), images(2, 3, 8, 8)
    with torch.no_grad():
        plain = model(x)
        with ConvBN(model, pairs_of(model, x)).installed():
            assert torch.equal(model(x), plain)
            with torch.inference_mode():
                assert torch.equal(model(x), plain)


@pytest.mark.parametrize("reentrant", [True, False])
def test_under_checkpointing(reentrant):
    model, x = small(), images(2, 3, 8, 8).requires_grad_()
    plain = gradients(model, x)
    again = partial(checkpoint, model, use_reentrant=reentrant)
    with ConvBN(model, pairs_of(model, x)).installed():
        for _ in range(2):
            again(x).pow(2).sum().backward()
    ours = [t.grad / 2 for t in (x, *model.parameters())]
    assert worst(ours, plain[1:]) <= 1e-12


# -- nothing is left -------------------------------------------------------------------------------


def test_the_model_is_put_back_even_after_an_error():
    model, x = small(), images(2, 3, 8, 8)
    before = pickle.dumps(model)
    folding = ConvBN(model, pairs_of(model, x))
    with pytest.raises(RuntimeError, match="channels"), folding.installed():
        model(images(2, 5, 8, 8))
    assert pickle.dumps(model) == before
    with folding.installed(), folding.installed():  # once is enough
        assert "Folded" in model(x).grad_fn.name()
    assert pickle.dumps(model) == before
    assert not any("forward" in vars(m) for m in model.modules())


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["copy", "pickle"])
def test_a_copy_made_inside_is_plain_and_its_own(copied):
    model, x = small(), images(2, 3, 8, 8)
    plain = model(x)
    with ConvBN(model, pairs_of(model, x)).installed():
        model(x)
        twin = copied(model)
        part = copied(model[0])
        assert torch.equal(twin(x), plain)
    assert torch.equal(part(x), model[0](x))
    with torch.no_grad():
        model[0].weight.zero_()
    assert torch.equal(twin(x), plain)
    assert torch.equal(copied(twin)(x), plain)
    with ConvBN(twin, pairs_of(twin, x)).installed():
        assert "Folded" in twin(x).grad_fn.name()


def test_finding_leaves_the_model_alone():
    model = small().train()
    model[0].weight.requires_grad_(False)
    seen = []
    model.register_forward_hook(lambda *_: seen.append(1))
    torch.manual_seed(3)
    before, random = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    assert [str(p) for p in pairs_of(model, images(1, 3, 8, 8))] == ["0 → 1", "3 → 4"]
    assert torch.equal(random, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(m.training for m in model.modules())
    assert [p.requires_grad for p in model.parameters()] == [False] + [True] * 6
    assert all(p.grad is None for p in model.parameters())
    assert not seen


# -- which pairs -----------------------------------------------------------------------------------


class Net(nn.Module):
    """A convolution and a norm, put together by a function."""

    def __init__(self, path, conv=None, norm=None):
        super().__init__()
        self.conv = conv or nn.Conv2d(3, 3, 3, padding=1)
        self.norm = norm or nn.BatchNorm2d(3)
        self.path = path

    def forward(self, x):
        return self.path(self, x)


def twice(self, x):
    return self.norm(self.conv(self.conv(x)))


def detached(self, x):
    y = self.conv(x)
    return self.norm(y) * y.detach().mean()


def compared(self, x):
    y = self.conv(x)
    return self.norm(y) * (y > 0)


def given_away(self, x):
    y = self.conv(x)
    return self.norm(y), {"features": y}


def activated(self, x):
    return self.norm(F.relu(self.conv(x)))


def shared_norm(self, x):
    return self.norm(self.norm(self.conv(x)))


def in_place(self, x):
    return self.norm(self.conv(x).add_(1))


class Louder(nn.Conv2d):
    def forward(self, x):
        return super().forward(x) * 2


class Skipping(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x) + x


@pytest.mark.parametrize("path", [twice, detached, compared, given_away, activated, shared_norm, in_place])
def test_what_is_no_pair(path):
    assert pairs_of(Net(path), torch.rand(1, 3, 6, 6)) == ()


@pytest.mark.parametrize("parts", [{"conv": Louder(3, 3, 3)}, {"norm": Skipping(3)}])
def test_modules_that_do_more_are_no_pair(parts):
    assert pairs_of(Net(lambda self, x: self.norm(self.conv(x)), **parts), torch.rand(1, 3, 6, 6)) == ()


def test_a_norm_without_statistics_is_none():
    norm = nn.BatchNorm2d(3, track_running_stats=False)
    assert pairs_of(Net(lambda self, x: self.norm(self.conv(x)), norm=norm), torch.rand(2, 3, 6, 6)) == ()


class Batchwise(nn.BatchNorm2d):
    """Takes the statistics of the batch in eval mode too."""

    def forward(self, x):
        return F.batch_norm(x, None, None, self.weight, self.bias, training=True)


def test_a_pair_that_differs_is_left_out_and_said_so():
    model = Net(lambda self, x: self.norm(self.conv(x)), norm=Batchwise(3)).eval()
    x = torch.rand(2, 3, 6, 6)
    (pair,) = pairs_of(model, x)
    assert "differs by" in pair.note
    folding = ConvBN(model, [pair])
    assert folding.pairs == ()
    assert folding.notes == (f"conv → norm: {pair.note}",)
    plain = model(x)
    with folding.installed():
        assert torch.equal(model(x), plain)


def test_hooks_are_noted():
    model = small()
    model[3].register_forward_hook(lambda *_: None)
    assert [p.note for p in pairs_of(model, images(1, 3, 8, 8))] == ["", "hooks on the convolution"]


def test_branches_of_training_count():
    def path(self, x):
        y = self.conv(x)
        return self.norm(y) + y if self.training else self.norm(y)

    assert pairs_of(Net(path).eval(), torch.rand(1, 3, 6, 6)) == ()

    def skips(self, x):
        return self.norm(self.conv(x)) if self.training else x

    assert len(pairs_of(Net(skips).eval(), torch.rand(1, 3, 6, 6))) == 1


def test_weights_made_in_the_forward():
    timm_layers = pytest.importorskip("timm.layers")
    convs = [
        timm_layers.StdConv2d(3, 4, 3),
        timm_layers.ScaledStdConv2d(3, 4, 3, bias=True),
        timm_layers.ScaledStdConv2dSame(3, 4, 3, stride=2, padding="SAME", bias=True),
        timm_layers.Conv2dSame(3, 4, 3, stride=2),
        parametrizations.weight_norm(nn.Conv2d(3, 4, 3)),
    ]
    for conv in convs:
        norm = timm_layers.BatchNormAct2d(4, drop_layer=partial(nn.Dropout, 0.5))
        model = lively(nn.Sequential(conv, norm).double())
        x = images(2, 3, 9, 9).requires_grad_()
        pairs = pairs_of(model, x.detach())
        assert [str(p) for p in pairs] == ["0 → 1"]
        plain = gradients(model, x)
        with ConvBN(model, pairs).installed():
            ours = gradients(model, x)
        assert worst(ours, plain) <= 1e-12


def test_examples_are_made_for_models_that_describe_themselves():
    from transformers import ResNetConfig, ResNetModel

    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    model = ResNetModel(config)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())
    assert len(pairs_of(model)) == norms
    assert len(pairs_of(model, {"pixel_values": torch.empty(1, 3, 32, 32, device="meta")})) == norms
    with pytest.raises(LayerMapError, match="Give example="):
        pairs_of(small())
    with pytest.raises(LayerMapError, match="RuntimeError"):
        pairs_of(small(), torch.rand(1, 5, 8, 8))
    assert pairs_of(nn.Linear(2, 2)) == ()


# -- errors ----------------------------------------------------------------------------------------


def test_a_path_that_the_example_did_not_take_is_an_error_and_never_a_wrong_number():
    def path(self, x):
        y = self.conv(x)
        return self.norm(y.view(y.shape)) if x.shape[0] == 3 else y if x.shape[0] == 4 else self.norm(y)

    model = Net(path).eval()
    with ConvBN(model, pairs_of(model, torch.rand(1, 3, 6, 6))).installed():
        with pytest.raises(LayerMapError, match="conv → norm was folded"):
            model(torch.rand(3, 3, 6, 6))
        model(torch.rand(4, 3, 6, 6))
        with pytest.raises(LayerMapError, match="conv → norm was folded"):
            model(torch.rand(2, 3, 6, 6))
        model(torch.rand(2, 3, 6, 6))  # and on it goes


def test_names_are_checked():
    model = small()
    with pytest.raises(LayerMapError, match="not a module of this model"):
        ConvBN(model, [Pair("7", "1")])
    with pytest.raises(LayerMapError, match="which is ReLU"):
        ConvBN(model, [Pair("0", "2")])
    assert repr(ConvBN(model, [Pair("0", "1"), Pair("3", "4", "no")])) == "ConvBN(1 pairs, 1 left out)"
