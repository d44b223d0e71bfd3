"""Small frames and tiny checkpoints: everything the tests fit is built here, without a hub."""

from __future__ import annotations

import json
import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.pop("COLUMNS", None)  # tables are 100 columns wide, and lines as long as they are

import pytest

from support.coverage_summary import pytest_terminal_summary  # noqa: F401 - pytest finds its hooks here
from support.pages import UNCHANGED
from support.tiny import TINY, make_table, make_texts, save_text, write_images


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Bit-identical and kind to the neighbours."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture
def tiny():
    return dict(TINY)


@pytest.fixture
def table():
    return make_table()


@pytest.fixture
def reviews():
    return make_texts()


@pytest.fixture
def pictures(tmp_path):
    """A frame of absolute paths."""
    frame = write_images(tmp_path / "pictures")
    return frame.assign(img=[str(tmp_path / "pictures" / name) for name in frame["img"]])


# -- tiny checkpoints ------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def text_folder(tmp_path_factory):
    """A BERT of two layers, 32 wide."""
    return save_text(
        tmp_path_factory.mktemp("checkpoints") / "tiny-bert",
        "bert",
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        max_position_embeddings=64,
    )


@pytest.fixture(scope="session")
def gpt_folder(tmp_path_factory):
    """A GPT-2 of two layers, 32 wide."""
    return save_text(
        tmp_path_factory.mktemp("checkpoints") / "tiny-gpt2", "gpt2", n_embd=32, n_layer=2, n_head=2, n_positions=64
    )


@pytest.fixture(scope="session")
def t5_folder(tmp_path_factory):
    """A T5 of two layers, 32 wide."""
    return save_text(
        tmp_path_factory.mktemp("checkpoints") / "tiny-t5",
        "t5",
        d_model=32,
        d_kv=16,
        d_ff=48,
        num_layers=2,
        num_heads=2,
    )


@pytest.fixture(scope="session")
def image_folder(tmp_path_factory):
    """timm's `test_resnet` as timm saves it for the hub."""
    import timm
    import torch
    from timm.models import save_for_hf

    folder = tmp_path_factory.mktemp("checkpoints") / "tiny-resnet"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = timm.create_model("test_resnet", pretrained=False)
    save_for_hf(model, str(folder), safe_serialization=True)
    assert json.loads((folder / "config.json").read_text())["architecture"] == "test_resnet"
    return folder


@pytest.fixture(scope="session")
def vision_folder(tmp_path_factory):
    """A transformers ViT of two layers, with a preprocessor configuration."""
    import torch
    from transformers import ViTConfig, ViTModel

    folder = tmp_path_factory.mktemp("checkpoints") / "tiny-vit"
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=48,
        image_size=32,
        patch_size=8,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        ViTModel(config).save_pretrained(folder)
    preprocessor = {
        "image_processor_type": "ViTImageProcessor",
        "size": {"height": 32, "width": 32},
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
        "resample": 2,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return folder


@pytest.fixture
def no_loading(monkeypatch):
    """Fail the test if anything fetches or builds a backbone."""
    from thermocline.backbones import pretrained as checkpoints
    from thermocline.inputs.image import kind as image
    from thermocline.inputs.table import kind as table
    from thermocline.inputs.text import kind as text

    def refuse(*_args, **_kwargs):
        raise AssertionError("a checkpoint was loaded before the fault was told")

    monkeypatch.setattr(image, "build_image", refuse)
    monkeypatch.setattr(table, "TableTower", refuse)
    for name in ("build_text", "load_tokenizer", "load_config"):
        monkeypatch.setattr(text, name, refuse)
    monkeypatch.setattr(checkpoints, "fetch", refuse)


@pytest.fixture
def make_predictor():
    """A silent predictor."""

    def make(label="y", *args, **kwargs):
        from thermocline import Predictor

        return Predictor(label, *args, verbosity=0, **kwargs)

    return make


@pytest.fixture(scope="session")
def fitted_table():
    """A predictor fitted once on the table frame; tests must not change it."""
    from thermocline import Predictor

    return Predictor("y", verbosity=0).fit(make_table(), hyperparameters=TINY)


# -- pages of the documentation ----------------------------------------------------------------------


@pytest.fixture(scope="session")
def small_backbone(tmp_path_factory):
    """As many layers as the backbone of the preset `offline`, a twelfth as wide."""
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "max_position_embeddings": 64}
    return save_text(tmp_path_factory.mktemp("checkpoints") / "small", "bert", num_hidden_layers=6, **sizes)


@pytest.fixture
def as_a_reader(request, small_backbone, tmp_path, monkeypatch):
    """An empty working folder, plots that open no window, and what is smaller; a parameter names the page."""
    import matplotlib

    matplotlib.use("Agg")
    monkeypatch.chdir(tmp_path)
    page = getattr(request, "param", "")
    if page not in UNCHANGED:
        solvers = "thermocline.problems.rowwise.probe_solvers"
        monkeypatch.setattr(f"{solvers}.STRENGTHS", (0.1, 1.0))  # else a probe is most of the time of a small fit
        monkeypatch.setattr(f"{solvers}.REPEATS", 1)
        monkeypatch.setattr("thermocline.backbones.pretrained._offline_folder", lambda name: small_backbone)
    return page
