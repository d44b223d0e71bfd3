"""What was meant by a name that is no checkpoint: bare names that hubs once had, and names of other libraries."""

from __future__ import annotations

import re
from collections.abc import Iterable

from thermocline.errors import did_you_mean

TEXT = {
    "google-bert": "bert-base-uncased bert-base-cased bert-large-uncased bert-large-cased bert-base-multilingual-cased "
    "bert-base-multilingual-uncased bert-base-chinese bert-base-german-cased bert-large-uncased-whole-word-masking "
    "bert-large-cased-whole-word-masking bert-base-cased-finetuned-mrpc",
    "distilbert": "distilbert-base-uncased distilbert-base-cased distilbert-base-multilingual-cased "
    "distilbert-base-german-cased distilbert-base-uncased-finetuned-sst-2-english "
    "distilbert-base-uncased-distilled-squad distilbert-base-cased-distilled-squad distilroberta-base distilgpt2",
    "FacebookAI": "roberta-base roberta-large roberta-large-mnli xlm-roberta-base xlm-roberta-large xlm-mlm-en-2048 "
    "xlm-mlm-100-1280 xlm-mlm-17-1280 xlm-mlm-ende-1024 xlm-mlm-enfr-1024 xlm-clm-ende-1024 xlm-clm-enfr-1024",
    "openai-community": "gpt2 gpt2-medium gpt2-large gpt2-xl openai-gpt roberta-base-openai-detector "
    "roberta-large-openai-detector",
    "google-t5": "t5-small t5-base t5-large t5-3b t5-11b",
    "albert": "albert-base-v2 albert-large-v2 albert-xlarge-v2 albert-xxlarge-v2 albert-base-v1 albert-large-v1 "
    "albert-xlarge-v1 albert-xxlarge-v1",
    "xlnet": "xlnet-base-cased xlnet-large-cased",
    "transfo-xl": "transfo-xl-wt103",
    "Salesforce": "ctrl",
    "almanach": "camembert-base",
    "sentence-transformers": "all-MiniLM-L6-v2 all-MiniLM-L12-v2 all-mpnet-base-v2 all-distilroberta-v1 "
    "all-roberta-large-v1 paraphrase-MiniLM-L6-v2 paraphrase-MiniLM-L3-v2 paraphrase-mpnet-base-v2 "
    "paraphrase-multilingual-MiniLM-L12-v2 paraphrase-multilingual-mpnet-base-v2 multi-qa-MiniLM-L6-cos-v1 "
    "multi-qa-mpnet-base-dot-v1 multi-qa-mpnet-base-cos-v1 multi-qa-distilbert-cos-v1 msmarco-distilbert-base-v4 "
    "distiluse-base-multilingual-cased-v1 distiluse-base-multilingual-cased-v2 LaBSE gtr-t5-base gtr-t5-large "
    "sentence-t5-base sentence-t5-large stsb-roberta-base nli-mpnet-base-v2",
    "microsoft": "deberta-v3-xsmall deberta-v3-small deberta-v3-base deberta-v3-large mdeberta-v3-base deberta-base "
    "deberta-large deberta-v2-xlarge deberta-v2-xxlarge MiniLM-L12-H384-uncased mpnet-base codebert-base "
    "graphcodebert-base",
    "google": "electra-small-discriminator electra-base-discriminator electra-large-discriminator flan-t5-small "
    "flan-t5-base flan-t5-large mobilebert-uncased canine-s canine-c bigbird-roberta-base bigbird-roberta-large "
    "mt5-small mt5-base",
    "answerdotai": "ModernBERT-base ModernBERT-large",
    "jhu-clsp": "ettin-encoder-17m ettin-encoder-32m ettin-encoder-68m ettin-encoder-150m ettin-encoder-400m "
    "ettin-encoder-1b mmBERT-small mmBERT-base",
    "facebook": "bart-base bart-large bart-large-mnli xlm-v-base",
    "intfloat": "e5-small-v2 e5-base-v2 e5-large-v2 multilingual-e5-small multilingual-e5-base multilingual-e5-large",
    "BAAI": "bge-small-en-v1.5 bge-base-en-v1.5 bge-large-en-v1.5 bge-m3",
    "thenlper": "gte-small gte-base gte-large",
    "allenai": "scibert_scivocab_uncased scibert_scivocab_cased longformer-base-4096 longformer-large-4096",
    "cardiffnlp": "twitter-roberta-base twitter-roberta-base-sentiment-latest",
    "ProsusAI": "finbert",
    "vinai": "bertweet-base phobert-base",
    "huawei-noah": "TinyBERT_General_4L_312D TinyBERT_General_6L_768D",
    "squeezebert": "squeezebert-uncased",
}
"""Owner → text checkpoints on the model hub; those of the first ten were once to be had without an owner."""

IMAGE = {
    "google": "vit-base-patch16-224 vit-base-patch16-224-in21k vit-large-patch16-224 vit-large-patch16-224-in21k "
    "siglip-base-patch16-224 siglip2-base-patch16-224 mobilenet_v2_1.0_224",
    "facebook": "dinov2-small dinov2-base dinov2-large dinov2-giant convnext-tiny-224 convnext-small-224 "
    "convnext-base-224 convnextv2-tiny-22k-224 deit-tiny-patch16-224 deit-small-patch16-224 deit-base-patch16-224 "
    "vit-mae-base",
    "microsoft": "resnet-18 resnet-34 resnet-50 resnet-101 resnet-152 swin-tiny-patch4-window7-224 "
    "swin-small-patch4-window7-224 swin-base-patch4-window7-224 swinv2-tiny-patch4-window8-256 beit-base-patch16-224",
    "openai": "clip-vit-base-patch32 clip-vit-base-patch16 clip-vit-large-patch14",
    "nvidia": "mit-b0 mit-b1 mit-b2",
}
"""Owner → image checkpoints on the model hub, for transformers."""

DETECTOR = {
    "facebook": "detr-resnet-50 detr-resnet-101",
    "hustvl": "yolos-tiny yolos-small yolos-base",
    "PekingU": "rtdetr_r18vd rtdetr_r34vd rtdetr_r50vd rtdetr_r101vd rtdetr_v2_r18vd rtdetr_v2_r50vd",
    "ustc-community": "dfine-nano-coco dfine-small-coco dfine-medium-coco dfine-large-coco dfine-xlarge-coco",
    "SenseTime": "deformable-detr",
    "microsoft": "conditional-detr-resnet-50",
}
"""Owner → detectors on the model hub."""

OF_TIMM = {
    "mobilenet_v2": "mobilenetv2_100",
    "mobilenet_v3_small": "mobilenetv3_small_100",
    "mobilenet_v3_large": "mobilenetv3_large_100",
    "efficientnet_v2_s": "tf_efficientnetv2_s",
    "efficientnet_v2_m": "tf_efficientnetv2_m",
    "efficientnet_v2_l": "tf_efficientnetv2_l",
    "vit_b_16": "vit_base_patch16_224",
    "vit_b_32": "vit_base_patch32_224",
    "vit_l_16": "vit_large_patch16_224",
    "vit_l_32": "vit_large_patch32_224",
    "vit_h_14": "vit_huge_patch14_224",
    "swin_t": "swin_tiny_patch4_window7_224",
    "swin_s": "swin_small_patch4_window7_224",
    "swin_b": "swin_base_patch4_window7_224",
    "swin_v2_t": "swinv2_tiny_window8_256",
    "swin_v2_s": "swinv2_small_window8_256",
    "swin_v2_b": "swinv2_base_window8_256",
    "maxvit_t": "maxvit_tiny_tf_224",
    "mnasnet1_0": "mnasnet_100",
    "regnet_y_400mf": "regnety_004",
    "regnet_y_800mf": "regnety_008",
    "regnet_y_1_6gf": "regnety_016",
    "regnet_y_3_2gf": "regnety_032",
    "regnet_y_8gf": "regnety_080",
    "regnet_y_16gf": "regnety_160",
    "regnet_y_32gf": "regnety_320",
    "regnet_x_400mf": "regnetx_004",
    "vit-b/32": "vit_base_patch32_clip_224",
    "vit-b/16": "vit_base_patch16_clip_224",
    "vit-l/14": "vit_large_patch14_clip_224",
}
"""Names of torchvision and of OpenAI's CLIP, in small letters → those of timm."""

_HUBS = re.compile(r"^(https?://)?(www\.)?(huggingface\.co|hf\.co)/|^hf[-_]hub:|^hf://", re.IGNORECASE)


def meant(name: str, own: dict[str, str], others: dict[str, dict[str, str]], known: Iterable[str] = ()) -> str:
    """Return a sentence about what may have been meant by a name that is no checkpoint, or an empty text.

    Args:
        name: What was given.
        own: Owner → names of checkpoints of the wanted kind.
        others: Option → such a table of another kind.
        known: More names of the wanted kind, from which the nearest are told.
    """
    bare = _HUBS.sub("", name).split("/tree/")[0].rstrip("/")
    if bare != name:
        return f" Leave out what is not the name: {bare!r}."
    last = bare.rpartition("/")[2].lower()
    full = _by_name(own)
    if last in full:
        return f" Did you mean {full[last]!r}? That is its name on the model hub."
    for option, table in others.items():
        if last in _by_name(table):
            return f" {_by_name(table)[last]!r} is for `{option}`."
    family = [full[one] for one in full if one.startswith((f"{last}-", f"{last}_"))]
    known = list(known)
    spelled = [one for one in known if one.replace("_", "").replace("-", "") == re.sub("[-_]", "", last)]
    if spelled:
        return f" Did you mean {spelled[0]!r}?"
    family = [one for one in known if one.startswith(f"{last}:")] or family
    if family:
        return f" There is, for instance, {' or '.join(map(repr, family[:3]))}."
    near = did_you_mean(last, [*full, *(one.rpartition("/")[2] for one in known)])
    whole = {one.rpartition("/")[2].lower(): one for one in known} | full
    return re.sub(r"'([^']*)'", lambda found: repr(whole.get(found[1].lower(), found[1])), near)


def meant_text(name: str, known: Iterable[str] = ()) -> str:
    """Return what may have been meant by a name that is no text checkpoint."""
    import timm

    if timm.is_model(name):
        return " timm has an image model of this name: it is for `model.image.checkpoint`."
    return meant(name, TEXT, {"model.image.checkpoint": IMAGE, "model.detector.checkpoint": DETECTOR}, known)


def meant_image(name: str) -> str:
    """Return what may have been meant by a name that is no image checkpoint."""
    import timm

    if of_timm := meant_by_timm(name):
        return of_timm
    others = {"model.text.checkpoint": TEXT, "model.detector.checkpoint": DETECTOR}
    return meant(name, IMAGE, others, timm.list_models() + timm.list_models(pretrained=True))


def meant_by_timm(name: str) -> str:
    """Return what timm calls a model that others, or timm itself in former versions, call otherwise."""
    import timm
    from timm.models._registry import get_deprecated_models

    lowered = name.lower()
    other = OF_TIMM.get(lowered) or get_deprecated_models().get(name)
    if other is None and lowered != name and timm.is_model(lowered):
        other = lowered
    return f" It is called {other!r} in timm." if other else ""


def meant_detector(name: str, known: Iterable[str] = ()) -> str:
    """Return what may have been meant by a name that is no detector."""
    if re.fullmatch(r"yolo(v?\d+|[-_]?world|[-_]?nas).*", name.lower()):
        return " Weights of YOLO are not read. Detectors of transformers are, such as 'ustc-community/dfine-nano-coco'."
    others = {"model.image.checkpoint": IMAGE, "model.text.checkpoint": TEXT}
    return meant(name, DETECTOR, others, known)


def meant_by(name: str, field: str) -> str:
    """Return what may have been meant by a name that the model hub does not have.

    Args:
        name: What was given.
        field: The section of options that named it, such as `model.text`.
    """
    if field.endswith("text"):
        return meant_text(name)
    return meant_detector(name) if field.endswith("detector") else meant_image(name)


def _by_name(table: dict[str, str]) -> dict[str, str]:
    """Return owner/name by the name alone, in small letters."""
    return {name.lower(): f"{owner}/{name}" for owner, names in table.items() for name in names.split()}
