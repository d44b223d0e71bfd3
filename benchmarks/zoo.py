"""Every timm and transformers model that can be built without a network, on the meta device: structure, no weights.

    names = timm_names()
    model = timm_model("resnet18", num_classes=10)
    model = transformers_model("sequence", "bert", num_labels=3, small=True)
    model(**example(model))  # inside order_oracle.trace, which answers what meta cannot

`small` cuts depth (layers, vocabulary, experts), not width: on meta a wide layer costs no more than a narrow one,
and widths carry most of the constraints (heads, groups, kernels) that a cut would break.
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import itertools
import logging
import re
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import cache
from typing import Any

import timm
import torch
import transformers
from timm.models import _registry as timm_registry
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

TASKS = {
    "base": "MODEL_MAPPING_NAMES",
    "sequence": "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES",
    "token": "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES",
    "image": "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES",
    "video": "MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES",
    "audio": "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES",
    "detection": "MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES",
    "segmentation": "MODEL_FOR_IMAGE_SEGMENTATION_MAPPING_NAMES",
    "semantic": "MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES",
    "instance": "MODEL_FOR_INSTANCE_SEGMENTATION_MAPPING_NAMES",
    "universal": "MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES",
}
LAYERS = 4  # at least three blocks repeat even where the first or the last differs
WORDS = 12
LAYER_COUNTS = re.compile(
    r"^(num_hidden_layers|\w*num_hidden_layers|num_layers|encoder_layers|decoder_layers|n_layers?|layers|depth"
    r"|num_(encoder|decoder)_layers|[lxr]_layers|speech_encoder_layers|t2u_(en|de)coder_layers|text_encoder_num_layers"
    r"|decoder_num_layers|num_self_attends_per_block|num_timestamp_prediction_layers)$"
)
EXPERT_COUNTS = ("num_experts", "n_routed_experts", "num_local_experts", "moe_num_experts")
HALF_ROTARY = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
# Values that some configurations need and give no default for.
NEEDED: dict[str, dict[str, Any]] = {
    "autoformer": {"prediction_length": 8},
    "informer": {"prediction_length": 8},
    "mllama_vision_model": {"intermediate_layers_indices": [1, 2]},
    "time_series_transformer": {"prediction_length": 8},
    "esm": {"vocab_size": 33, "pad_token_id": 1, "mask_token_id": 32},
    "timm_backbone": {"backbone": "resnet18"},
    "timm_wrapper": {"architecture": "resnet18"},
    "nemotron": {"num_key_value_heads": 8},
    "blip-2": {"image_token_index": 50000},
    "instructblip": {"image_token_index": 50000},
    "instructblipvideo": {"video_token_index": 50000},
    "deepseek_v2": {"num_experts_per_tok": 2},
    "glm4v_text": {"rope_parameters": HALF_ROTARY},
    "glm_image_text": {"rope_parameters": HALF_ROTARY},
    "beit": {"out_indices": [0, 1, 2, 3]},
    "data2vec-vision": {"out_indices": [0, 1, 2, 3]},
    "hunyuan_v1_dense": {"head_dim": 128},
    "hunyuan_v1_moe": {"head_dim": 128},
    "hunyuan_vl_text": {"head_dim": 128},
    "ministral": {"head_dim": 128},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 8, "num_hidden_layers": 16},
}


class Unbuildable(Exception):
    """A model that cannot be built offline, with the reason."""


def timm_names() -> list[str]:
    """Return the names of all timm models."""
    return list(timm.list_models())


def timm_family(name: str) -> str:
    """Return the module of timm that a model's entrypoint lives in."""
    return str(timm_registry._model_entrypoints[name].__module__).removeprefix("timm.models.")


def timm_model(name: str, *, num_classes: int | None = None) -> nn.Module:
    """Build a timm model on meta, in evaluation mode.

    Args:
        name: One of `timm_names()`.
        num_classes: The number of outputs of its head; None for its own default.
    """
    options = {} if num_classes is None else {"num_classes": num_classes}
    with torch.device("meta"):
        model: nn.Module = timm.create_model(name, pretrained=False, **options)
    return model.to("meta").eval()


def transformers_types() -> list[tuple[str, str]]:
    """Return all pairs of a task and a type of model; `base` is the model without a head."""
    pairs = [(task, kind) for task, mapping in TASKS.items() for kind in getattr(modeling_auto, mapping)]
    return [(task, kind) for task, kind in pairs if kind in CONFIG_MAPPING]


def transformers_model(task: str, model_type: str, *, num_labels: int | None = None, small: bool = False) -> nn.Module:
    """Build a transformers model from its default configuration, on meta, with eager attention.

    Args:
        task: A key of `TASKS`.
        model_type: As in `transformers.AutoConfig`.
        num_labels: The number of labels; None for the configuration's own.
        small: With few layers; the default configuration is used where that cannot be built.

    Raises:
        Unbuildable: It needs a package, a file or numbers that are not to be had offline.
    """
    reason: Exception | None = None
    for make in (small_config, default_config) if small else (default_config,):
        try:
            return build(task, model_type, make(model_type), num_labels)
        except Exception as problem:  # anything may go wrong in a foreign constructor
            reason = problem
    assert reason is not None
    text = " ".join(str(reason).split())
    raise Unbuildable(f"{task}/{model_type}: {type(reason).__name__}: {text[:300]}") from reason


def build(task: str, model_type: str, config: PretrainedConfig, num_labels: int | None) -> nn.Module:
    """Build the class that a task maps a type to."""
    name = getattr(modeling_auto, TASKS[task])[model_type]
    cls = getattr(transformers, name if isinstance(name, str) else name[0])
    prepare(config, num_labels)
    with quiet(), torch.device("meta"):
        model: nn.Module = cls._from_config(config, attn_implementation="eager", experts_implementation="eager")
    return model.to("meta").eval()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence what constructors log."""
    logger = logging.getLogger("transformers")
    level, logger.level = logger.level, logging.CRITICAL
    try:
        yield
    finally:
        logger.level = level


def prepare(config: PretrainedConfig, num_labels: int | None) -> None:
    """Set what every configuration needs for a forward offline, sub-configurations included."""
    for part in parts(config):
        if num_labels is not None:
            part.num_labels = num_labels
        if getattr(part, "pad_token_id", None) is None:
            with contextlib.suppress(Exception):
                part.pad_token_id = 0
        for name, value in {"use_cache": False, "use_pretrained_backbone": False, "use_kernels": False}.items():
            if hasattr(part, name):
                setattr(part, name, value)


def parts(config: PretrainedConfig) -> Iterator[PretrainedConfig]:
    """Yield a configuration and those in it."""
    yield config
    for value in list(vars(config).values()):
        if isinstance(value, PretrainedConfig):
            yield from parts(value)


def default_config(model_type: str) -> PretrainedConfig:
    """Return a configuration as its class makes it, with what it lacks."""
    return copy.deepcopy(_default_config(model_type))


@cache
def _default_config(model_type: str) -> PretrainedConfig:
    with quiet():
        if model_type in COMPOSITES:
            return COMPOSITES[model_type]()
        return CONFIG_MAPPING[model_type](**NEEDED.get(model_type, {}))


def pair_config(model_type: str, first: str, second: str) -> Callable[[], PretrainedConfig]:
    """Return how to make the configuration of an encoder and a decoder that can be of any type."""
    return lambda: CONFIG_MAPPING[model_type].from_encoder_decoder_configs(
        default_config(first), default_config(second)
    )


COMPOSITES: dict[str, Callable[[], PretrainedConfig]] = {
    "encoder-decoder": pair_config("encoder-decoder", "bert", "bert"),
    "vision-encoder-decoder": pair_config("vision-encoder-decoder", "vit", "bert"),
    "speech-encoder-decoder": pair_config("speech-encoder-decoder", "wav2vec2", "bert"),
    "vision-text-dual-encoder": lambda: CONFIG_MAPPING["vision-text-dual-encoder"].from_vision_text_configs(
        default_config("vit"), default_config("bert")
    ),
}


def small_config(model_type: str) -> PretrainedConfig:
    """Return a configuration with few layers, made by its own class, so that what follows from them agrees."""
    if model_type in COMPOSITES:
        config = default_config(model_type)
        for part in parts(config):
            for name, value in cuts(part).items():
                setattr(part, name, value)
        return config
    with quiet():
        return shrunk(default_config(model_type), NEEDED.get(model_type, {}))


def shrunk(config: PretrainedConfig, needed: Mapping[str, Any]) -> PretrainedConfig:
    """Return a configuration of the same class with few layers, experts and words."""
    changes = {**needed, **cuts(config)}
    for name, value in vars(config).items():
        if isinstance(value, PretrainedConfig):
            changes[name] = shrunk(value, NEEDED.get(value.model_type, {}))
    if not changes:
        return config
    try:
        return type(config)(**changes)
    except Exception:  # lists of one entry per layer have to be cut along
        listed = {
            name: value[:LAYERS]
            for name, value in vars(config).items()
            if isinstance(value, list) and len(value) == getattr(config, "num_hidden_layers", None)
        }
        return type(config)(**changes, **listed)


def cuts(config: PretrainedConfig) -> dict[str, Any]:
    """Return the smaller numbers of a configuration's own fields."""
    changes: dict[str, Any] = {}
    for name, value in vars(config).items():
        if not isinstance(value, int) or isinstance(value, bool):
            continue
        if LAYER_COUNTS.match(name) and value > LAYERS:
            changes[name] = LAYERS
        elif name in EXPERT_COUNTS and value > 16:
            changes[name] = 16
    return changes


# --- inputs ------------------------------------------------------------------------------------------------------

Values = dict[str, Any]
MISMATCH = re.compile(r"(image|video|audio)?\D*tokens?:? (\d+)\D+?features:? \D*(\d+)", re.IGNORECASE)
IMAGES, FRAMES = ("plain", "single", "frames"), ("frames",)
SOUNDS = ("mel", "time", "wave", "channel", "patch")
MOST_TRIES = 32


def example(model: nn.Module) -> Values | tuple[Any, ...]:
    """Return inputs for one forward: floats on the model's device, integers real, on the CPU.

    Integers steer (positions, lengths, grids); `order_oracle.trace` computes with them for real.
    """
    return next(examples(model))


def examples(model: nn.Module) -> Generator[Values | tuple[Any, ...], str | None, None]:
    """Yield inputs from the richest (all modalities) to the plainest; the first that runs is the one to use.

    A caller may `send` the error of the last: how many places an image takes among the words is told by it alone.
    """
    if not isinstance(model, PreTrainedModel):
        size = getattr(model, "pretrained_cfg", {}).get("input_size", (3, 224, 224))
        yield (torch.empty(1, *size, device=device_of(model)),)
        return
    inputs = Inputs(model)
    for image, sound, text in itertools.islice(inputs.styles(), MOST_TRIES):
        inputs.image_style, inputs.sound_style, inputs.text_style = image, sound, text
        for _ in range(4):
            error = yield inputs.make()
            if not inputs.repair(error or ""):
                break


def run_first(model: nn.Module, attempt: Callable[[Any], str]) -> str:
    """Try the examples of a model until one runs.

    Args:
        model: The model.
        attempt: Runs a forward with some inputs and returns the error, empty if there was none.

    Returns:
        The error of the richest example, empty if any ran.
    """
    series, first, error = examples(model), "", ""
    with contextlib.suppress(StopIteration):
        inputs = next(series)
        while True:
            error = attempt(inputs)
            if not error:
                return ""
            first = first or error
            inputs = series.send(error)
    return first or "no inputs are known for it"


def device_of(model: nn.Module) -> torch.device:
    """Return where a model's parameters are."""
    return next((parameter.device for parameter in model.parameters()), torch.device("cpu"))


class Inputs:
    """Makes inputs for one transformers model from what its forward accepts."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.config = model.config
        self.device = device_of(model)
        signature = inspect.signature(model.forward).parameters
        self.accepted = list(signature)
        self.required = {name for name, parameter in signature.items() if parameter.default is parameter.empty}
        self.image_style, self.sound_style, self.text_style = "none", "none", "none"
        self.places: dict[str, int] = {}

    def styles(self) -> Iterator[tuple[str, str, str]]:
        """Yield ways to present image, sound and text, the fullest first."""
        choices = (self.image_styles(), self.sound_styles(), self.text_styles())
        orders = itertools.product(*(range(len(choice)) for choice in choices))
        for places in sorted(orders, key=lambda order: sum(order) + 5 * order[2]):  # text alone before no text
            image, sound, text = (choice[place] for choice, place in zip(choices, places, strict=True))
            yield image, sound, text

    def image_styles(self) -> list[str]:
        """Return the forms that an image may take."""
        if {"grid_thw", "image_grid_thw", "target_sizes"} & set(self.accepted):
            return ["flat", "none"]
        if "spatial_shapes" in self.accepted:
            return ["packed", "none"]
        if {"pixel_values", "image_pixel_values"} & set(self.accepted):
            return [*IMAGES, "none"]
        return ["frames"] if "pixel_values_videos" in self.accepted else ["none"]

    def sound_styles(self) -> list[str]:
        """Return the forms that a sound may take."""
        if {"input_features", "audio_mel", "audio_input_features"} & set(self.accepted):
            return ["mel", "time", "patch", "none"]
        return ["wave", "time", "channel", "none"] if "input_values" in self.accepted else ["none"]

    def text_styles(self) -> list[str]:
        """Return whether there is text."""
        return ["words", "none"] if "input_ids" in self.accepted else ["none"]

    def get(self, *names: str, default: Any = None) -> Any:
        """Return the first of several fields that a configuration or one in it has."""
        for name in names:
            for part in parts(self.config):
                value = getattr(part, name, None)
                if value is not None:
                    return value
        return default

    def of(self, part: str, *names: str, default: Any = None) -> Any:
        """Return a field of a sub-configuration, else of any."""
        config = getattr(self.config, part, None)
        found = [getattr(config, name) for name in names if getattr(config, name, None) is not None]
        return found[0] if found else self.get(*names, default=default)

    def floats(self, *shape: int) -> torch.Tensor:
        """Return floats of a shape."""
        return torch.zeros(shape, device=self.device)

    def make(self) -> Values:
        """Return inputs in the present styles."""
        made: Values = {}
        for name in self.accepted:
            value = MAKERS[name](self) if name in MAKERS else None
            if value is not None:
                made[name] = value
        return made

    def repair(self, error: str) -> bool:
        """Give an image or a sound the places among the words that an error asks for; whether it asked for any."""
        found = MISMATCH.search(error)
        if not found:
            return False
        kind = (found[1] or "image").lower()
        count, hidden = int(found[3]), self.of("text_config", "hidden_size", default=1)
        wanted = count // hidden if count >= hidden and count % hidden == 0 else count
        if self.places.get(kind) == wanted or wanted > 4096:
            return False
        self.places[kind] = wanted
        return True

    def words(self) -> torch.Tensor:
        """Return token ids that mean nothing special, the places of images and sounds, and an end."""
        codes = self.get("num_codebooks", "num_channels") if self.config.model_type in CODED else None
        ids = list(range(5, 5 + WORDS))
        for kind, count in self.places.items():
            token = self.get(f"{kind}_token_id", f"{kind}_token_index")
            ids += [int(token)] * count if token is not None else []
        end = self.get("eos_token_id")
        end = end[0] if isinstance(end, list | tuple) else end
        row = torch.tensor([*ids, end if isinstance(end, int) and end >= 0 else 5])
        return row.view(1, -1, 1).expand(1, len(row), codes) if codes else row.unsqueeze(0)

    def kinds(self) -> torch.Tensor | None:
        """Return 1 where an image is among the words, else 0."""
        token = self.get("image_token_id", "image_token_index")
        return None if self.text() is None or token is None else (self.words() == token).long()

    def text(self) -> torch.Tensor | None:
        """Return words, if the present style has any."""
        return self.words() if self.text_style == "words" else None

    def mask(self) -> torch.Tensor | None:
        """Return a mask of the words, all of which count."""
        text = self.text()
        return None if text is None else torch.ones(text.shape[:2], dtype=torch.long)

    def decoder(self) -> torch.Tensor | None:
        """Return words for the decoder, if there is one."""
        return self.words() if self.get("is_encoder_decoder") or "decoder_input_ids" in self.required else None

    def image_size(self) -> tuple[int, int]:
        """Return the size of an image."""
        size = self.of("vision_config", "image_size", "img_size", "input_size", default=224)
        if isinstance(size, dict):
            size = (size.get("height", 224), size.get("width", 224))
        return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))

    def channels(self) -> int:
        """Return the channels of an image."""
        return int(self.of("vision_config", "num_channels", "in_channels", "in_chans", default=3))

    def patch(self) -> int:
        """Return the side of a patch."""
        size = self.of("vision_config", "patch_size", "spatial_patch_size", default=16)
        return int(size[0] if isinstance(size, list | tuple) else size)

    def flat_patches(self) -> torch.Tensor:
        """Return the patches of one image of GRID x GRID as rows."""
        times = self.of("vision_config", "temporal_patch_size", default=1)
        return self.floats(GRID * GRID, self.channels() * int(times) * self.patch() ** 2)

    def image(self) -> torch.Tensor | None:
        """Return an image in the present style."""
        (height, width), channels = self.image_size(), self.channels()
        if self.image_style == "plain":
            return self.floats(1, channels, height, width)
        if self.image_style == "single":
            pair = 2 if self.config.model_type in PAIRED else 1
            return self.floats(1, pair, channels, height, width)
        if self.image_style == "frames":
            return self.video()
        if self.image_style == "flat":
            return self.flat_patches()
        return self.floats(1, GRID * GRID, channels * self.patch() ** 2) if self.image_style == "packed" else None

    def video(self) -> torch.Tensor:
        """Return frames."""
        frames = self.of("vision_config", "num_frames", "frames_per_clip", default=8)
        height, width = self.image_size()
        return self.floats(1, int(frames), self.channels(), height, width)

    def only_video(self) -> torch.Tensor | None:
        """Return frames where a model takes nothing but frames."""
        alone = "pixel_values" not in self.accepted and self.image_style == "frames"
        return self.video() if alone else None

    def inputs_alone(self) -> bool:
        """Whether a perceiver takes no modality of its own."""
        return not {"input_ids", "pixel_values"} & set(self.accepted)

    def grid(self) -> torch.Tensor | None:
        """Return the frames, rows and columns of an image's patches."""
        return torch.tensor([[1, GRID, GRID]]) if self.image_style == "flat" else None

    def sound(self) -> torch.Tensor | None:
        """Return a sound in the present style."""
        bins = int(self.of("audio_config", "num_mel_bins", "input_feat_per_channel", "feature_projection_input_dim",
                           "input_feat_size", "n_mels", "input_dim", default=80))  # fmt: skip
        fixed = self.of("audio_config", "max_source_positions", default=None)
        steps = int(self.get("max_length", default=1024)) if self.config.model_type in SPECTRA else 256
        if self.sound_style == "mel":
            return self.floats(1, bins, 2 * fixed if isinstance(fixed, int) and fixed <= 3000 else steps)
        if self.sound_style == "time":
            return self.floats(1, steps, bins)
        if self.sound_style == "wave":
            return self.floats(1, 16000)
        if self.sound_style == "channel":
            return self.floats(1, int(self.get("audio_channels", default=1)), 19200)
        return self.floats(1, 1, 1001, bins) if self.sound_style == "patch" else None

    def sound_mask(self) -> torch.Tensor | None:
        """Return a mask of the steps of a sound."""
        sound = self.sound()
        if sound is None or self.sound_style == "none":
            return None
        return torch.ones(1, sound.shape[1 if self.sound_style == "time" else -1], dtype=torch.bool)

    def states(self) -> torch.Tensor:
        """Return what a tower that is given hidden states takes."""
        if self.image_style == "flat":
            return self.flat_patches()
        return self.floats(1, WORDS, int(self.get("hidden_size", "d_model", default=64)))

    def series(self) -> torch.Tensor:
        """Return a time series."""
        past = int(self.get("context_length", "prediction_length", default=32))
        lags = max(self.get("lags_sequence", default=[0]))
        size = int(self.get("num_input_channels", "input_size", default=1))
        return self.floats(1, past + lags) if size == 1 and lags else self.floats(1, past + lags, size)

    def times(self, *, future: bool) -> torch.Tensor:
        """Return the features that date a time series."""
        steps = int(self.get("prediction_length")) if future else self.series().shape[1]
        return self.floats(1, steps, int(self.get("num_time_features", default=0)))

    def future(self) -> torch.Tensor | None:
        """Return the series to come."""
        if not self.get("lags_sequence"):
            return None
        return self.floats(1, int(self.get("prediction_length")))


GRID = 8  # patches a side: a multiple of every merge
CODED = ("dia", "csm", "higgs_audio_v2", "kyutai_speech_to_text", "moshi")
PAIRED = ("efficientloftr", "lightglue", "superglue")
SPECTRA = ("audio-spectrogram-transformer",)


def when_text(make: Callable[[Inputs], Any]) -> Callable[[Inputs], Any]:
    """Return a maker that makes something only where there is text."""
    return lambda inputs: None if inputs.text() is None else make(inputs)


MAKERS: dict[str, Callable[[Inputs], Any]] = {
    "input_ids": Inputs.text,
    "attention_mask": Inputs.mask,
    "decoder_input_ids": Inputs.decoder,
    "mm_token_type_ids": Inputs.kinds,
    "qformer_input_ids": Inputs.text,
    "task_inputs": lambda inputs: torch.zeros(1, inputs.get("task_seq_len", default=77), dtype=torch.long),
    "bbox": when_text(lambda inputs: torch.zeros(1, inputs.words().shape[1], 4, dtype=torch.long)),
    "pixel_values": Inputs.image,
    "image_pixel_values": Inputs.image,
    "high_res_pixel_values": lambda inputs: inputs.floats(1, 3, 1024, 1024),
    "prompt_pixel_values": Inputs.image,
    "prompt_masks": Inputs.image,
    "pixel_values_videos": Inputs.only_video,
    "grid_thw": Inputs.grid,
    "image_grid_thw": Inputs.grid,
    "merge_sizes": lambda _: torch.tensor([1]),
    "image_merge_sizes": lambda _: torch.tensor([1]),
    "target_sizes": lambda _: torch.tensor([[GRID, GRID]]),
    "spatial_shapes": lambda _: torch.tensor([[GRID, GRID]]),
    "pixel_attention_mask": lambda inputs: (
        torch.ones(1, GRID * GRID, dtype=torch.long) if inputs.image_style == "packed" else None
    ),
    "image_sizes": lambda inputs: torch.tensor([inputs.image_size()]) if inputs.image_style != "none" else None,
    "aspect_ratio_ids": lambda _: torch.ones(1, 1, dtype=torch.long),
    "visual_feats": lambda inputs: inputs.floats(1, 8, inputs.get("visual_feat_dim", default=2048)),
    "visual_pos": lambda inputs: inputs.floats(1, 8, inputs.get("visual_pos_dim", default=4)),
    "visual_embeds": lambda inputs: inputs.floats(1, 8, inputs.get("visual_embedding_dim", default=512)),
    "input_features": Inputs.sound,
    "audio_mel": Inputs.sound,
    "audio_mel_mask": Inputs.sound_mask,
    "input_features_mask": Inputs.sound_mask,
    "feature_attention_mask": Inputs.sound_mask,
    "input_values": Inputs.sound,
    "decoder_input_values": lambda inputs: inputs.floats(1, WORDS, inputs.get("num_mel_bins", default=80)),
    "hidden_states": lambda inputs: inputs.states() if "hidden_states" in inputs.required else None,
    "query_embeds": lambda inputs: inputs.floats(1, 8, inputs.get("hidden_size")),
    "latents": lambda inputs: inputs.floats(1, inputs.get("hidden_size", default=64), WORDS),
    "inputs": lambda inputs: inputs.floats(1, 64, inputs.get("d_model")) if inputs.inputs_alone() else None,
    "past_values": Inputs.series,
    "past_observed_mask": lambda inputs: torch.ones_like(inputs.series()),
    "past_time_features": lambda inputs: inputs.times(future=False),
    "future_time_features": lambda inputs: inputs.times(future=True),
    "future_values": Inputs.future,
    "states": lambda inputs: inputs.floats(1, 4, inputs.get("state_dim")),
    "actions": lambda inputs: inputs.floats(1, 4, inputs.get("act_dim")),
    "rewards": lambda inputs: inputs.floats(1, 4, 1),
    "returns_to_go": lambda inputs: inputs.floats(1, 4, 1),
    "timesteps": lambda _: torch.arange(4).unsqueeze(0),
    "entity_ids": when_text(lambda _: torch.tensor([[1, 2]])),
    "entity_attention_mask": when_text(lambda _: torch.ones(1, 2, dtype=torch.long)),
    "entity_position_ids": when_text(lambda _: torch.tensor([[[1, 2, -1], [3, -1, -1]]])),
    "lang_ids": lambda inputs: torch.zeros(1, dtype=torch.long) if inputs.config.model_type == "xmod" else None,
    "spectrogram_length": lambda _: torch.tensor([64]),
    "input_points": lambda inputs: inputs.floats(1, 1, 1, 2),
    "use_cache": lambda _: False,
    "return_dict": lambda _: True,
}
