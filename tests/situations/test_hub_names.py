"""A name that is no checkpoint gets the name that was meant, and a hub that refuses says what to do."""

from __future__ import annotations

import pytest

from support.tiny import told
from thermocline.backbones.hub_names import DETECTOR, IMAGE, OF_TIMM, TEXT
from thermocline.backbones.pretrained import find_image, find_text, unreachable
from thermocline.errors import CheckpointError
from thermocline.problems.object_detection.detector_source import find_detector

BARE = {
    "bert-base-uncased": "google-bert/bert-base-uncased",
    "Bert-Base-Uncased": "google-bert/bert-base-uncased",
    "bert-base-uncasd": "google-bert/bert-base-uncased",
    "distilbert-base-uncased": "distilbert/distilbert-base-uncased",
    "distilroberta-base": "distilbert/distilroberta-base",
    "roberta-base": "FacebookAI/roberta-base",
    "xlm-roberta-large": "FacebookAI/xlm-roberta-large",
    "gpt2": "openai-community/gpt2",
    "gpt2-xl": "openai-community/gpt2-xl",
    "openai-gpt": "openai-community/openai-gpt",
    "t5-small": "google-t5/t5-small",
    "albert-base-v2": "albert/albert-base-v2",
    "xlnet-base-cased": "xlnet/xlnet-base-cased",
    "transfo-xl-wt103": "transfo-xl/transfo-xl-wt103",
    "ctrl": "Salesforce/ctrl",
    "camembert-base": "almanach/camembert-base",
    "all-MiniLM-L6-v2": "sentence-transformers/all-MiniLM-L6-v2",
    "deberta-v3-base": "microsoft/deberta-v3-base",
    "bert": "google-bert/bert-base-uncased",
    "offline": "offline:minilm-l6",
}


@pytest.mark.parametrize("name", BARE)
def test_bare_names_of_text_checkpoints(name):
    assert repr(BARE[name]) in told(CheckpointError, OSError, lambda: find_text(name, pretrained=True))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("vit_b_16", "It is called 'vit_base_patch16_224' in timm"),
        ("mobilenet_v3_large", "It is called 'mobilenetv3_large_100' in timm"),
        ("ResNet50", "It is called 'resnet50' in timm"),
        ("convnext_base_in22ft1k", "It is called 'convnext_base.fb_in22k_ft_in1k' in timm"),
        ("resnet-50", "'microsoft/resnet-50'"),
        ("vit-base-patch16-224", "'google/vit-base-patch16-224'"),
        ("bert-base-uncased", "'google-bert/bert-base-uncased' is for `model.text.checkpoint`"),
        ("detr-resnet-50", "'facebook/detr-resnet-50' is for `model.detector.checkpoint`"),
        ("resnet19", "Did you mean 'resnet18'"),
    ],
)
def test_names_of_image_checkpoints(name, words):
    assert words in told(CheckpointError, OSError, lambda: find_image(name, pretrained=True))


def test_names_that_timm_shares_with_torchvision_are_timms():
    assert find_image("resnet50", pretrained=True).library == "timm"


def test_images_and_detectors_as_texts():
    for name, words in (
        ("resnet50", "for `model.image.checkpoint`"),
        ("yolos-tiny", "for `model.detector.checkpoint`"),
    ):
        assert words in told(CheckpointError, OSError, lambda name=name: find_text(name, pretrained=True))


@pytest.mark.parametrize(
    ("name", "words"),
    [("yolos-tiny", "'hustvl/yolos-tiny'"), ("yolov8n.pt", "Weights of YOLO are not read"), ("rt-detr", "'rt_detr'")],
)
def test_names_of_detectors(name, words):
    assert words in told(CheckpointError, OSError, lambda: find_detector(name, pretrained=True))


def test_the_tables_are_consistent():
    import timm

    for names in OF_TIMM.values():
        assert timm.is_model_pretrained(names)
    for table in (TEXT, IMAGE, DETECTOR):
        every = [name.lower() for names in table.values() for name in names.split()]
        assert len(every) == len(set(every))


def hub_error(kind):
    import huggingface_hub.errors as errors

    made = getattr(errors, kind)
    error = made.__new__(made)  # without a response, which is of whatever library the hub's client uses
    error.args = ("refused",)
    return error


@pytest.mark.parametrize(
    ("name", "kind", "words"),
    [
        ("bert/bert-base-uncased", "RepositoryNotFoundError", "Did you mean 'google-bert/bert-base-uncased'?"),
        ("me/mine", "RepositoryNotFoundError", "for a private one log in: `hf auth login`"),
        (
            "meta-llama/Llama-3.2-1B",
            "GatedRepoError",
            "accept its conditions at https://huggingface.co/meta-llama",
        ),
    ],
)
def test_what_the_hub_answered(name, kind, words):
    message = str(unreachable(name, "model.text", hub_error(kind)))
    assert words in message
    for way in ("presets='offline'", "thermocline[offline]", "local folder", "model.text.pretrained=false"):
        assert way in message


@pytest.mark.parametrize("url", ["https://huggingface.co/google-bert/bert-base-uncased", "hf-hub:google/x"])
def test_an_address_in_place_of_a_name(url):
    from huggingface_hub.errors import HFValidationError

    name = "google/x" if url.endswith("x") else "google-bert/bert-base-uncased"
    assert f"Leave out what is not the name: {name!r}" in str(
        unreachable(url, "model.text", HFValidationError("no id"))
    )


def test_without_a_connection_the_preset_is_named():
    message = str(unreachable("a/b", "model.text", ConnectionError("no route")))
    assert "use `offline:minilm-l6`, or the preset `offline`, presets='offline' (pip install" in message
    assert "presets='offline'" in str(unreachable("a/b", "model.image", ConnectionError("no route")))
