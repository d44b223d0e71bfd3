"""The image tower: any timm model, or a transformers vision model, with its own preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from thermocline.backbones.adapters import Adapters
from thermocline.contracts.mixing import Mixing
from thermocline.contracts.tower import MAP, ROW, Tower
from thermocline.data.moving import on_host, sent
from thermocline.inputs.image.feature_map import MapLayout, find_layout, hidden_states
from thermocline.inputs.image.spec import ImageSpec
from thermocline.inputs.own_backbone import OwnRecord
from thermocline.inputs.own_outputs import image_features
from thermocline.tuning.random_numbers import RandomNumbers


class ImageTower(Tower):
    """An image backbone; the features of several image columns are concatenated.

    Grains: `row`, and `map` where the backbone has a feature map.

    Args:
        backbone: Maps pixels `(images, 3, height, width)` to features `(images, features)` (timm) or to a transformers
            output.
        spec: The preprocessing that fits the backbone; pixels arrive as uint8 and are normalised here.
        columns: Number of image columns.
        pretrained: Whether the backbone has pretrained weights.
        own: What is known of a backbone of the caller's own, which may give other outputs (`own_outputs`); else None.

    Attributes:
        features: Features of an image.
        width: Features a row: those of an image × columns. A missing image's features are zeros.
        adapters: The adapters in the backbone, or None.
    """

    def __init__(
        self, backbone: nn.Module, spec: ImageSpec, *, columns: int, pretrained: bool, own: OwnRecord | None = None
    ) -> None:
        super().__init__()
        self.own = own
        # convolutions take a third less time; code of the caller's own may ask for views that are not there then
        self._format = torch.channels_last if own is None else torch.contiguous_format
        self.backbone = backbone.to(memory_format=torch.channels_last) if own is None else backbone
        self.spec = spec
        self.pretrained = pretrained
        self.columns = columns
        self.adapters: Adapters | None = None
        self._class_token = any(name.endswith("cls_token") for name, _ in backbone.named_parameters())
        self._layout: MapLayout | None = None
        self._layout_known = False
        self._map_shape: tuple[int, ...] = ()
        self.mean: torch.Tensor
        self.std: torch.Tensor
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1) * 255, persistent=False)
        self.features = int(self.trial().shape[1])
        self.take_columns(columns)

    def take_columns(self, columns: int) -> None:
        """Set the number of image columns, each of which has its place in the features."""
        self.columns = columns
        self.width = self.features * columns
        self.feature_blocks = (self.features,) * columns

    def forward(self, inputs: Mapping[str, torch.Tensor], *, grain: str = ROW) -> torch.Tensor:
        """Map images to features.

        Args:
            inputs: `pixels` uint8 `(rows, columns, 3, h, w)` and `present` bool `(rows, columns)`.
            grain: `row` or `map`.

        Returns:
            Float `(rows, width)`; for `map` `(rows, columns, channels, h', w')`, the last hidden states on the
            backbone's own grid, whose channels may differ from `features`. Missing images are zeros.

        Raises:
            ValueError: Another grain, or `map` from a backbone that has no known feature map.
        """
        self.check_grain(grain)
        encode = self.encode_map if grain == MAP else self.encode
        present = inputs["present"]
        if torch.compiler.is_exporting():  # one graph, whichever images are missing
            out = encode(inputs["pixels"].flatten(0, 1))
            out = out.reshape(*present.shape, *out.shape[1:])
            out = torch.where(present.reshape(*present.shape, *(1 for _ in out.shape[2:])), out, 0.0)
        elif bool((known := on_host(inputs, "present")).all()):
            out = encode(inputs["pixels"].flatten(0, 1))
            out = out.reshape(*present.shape, *out.shape[1:])
        else:
            shape = self._map_shape if grain == MAP else (self.features,)
            places = tuple(sent(each, present.device) for each in known.nonzero(as_tuple=True))
            features = encode(inputs["pixels"][places]) if len(places[0]) else self.mean.new_zeros(0, *shape)
            out = torch.zeros(*present.shape, *features.shape[1:], device=present.device, dtype=features.dtype)
            out = out.index_put(places, features)
        return out if grain == MAP else out.flatten(1)

    def row_states(self, states: torch.Tensor, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor | None:
        """Return the mean of a layer's output over the map, or over tokens; zeros for missing images.

        Args:
            states: Float `(images, channels, h, w)`, `(images, h, w, channels)` where timm says so, `(images, tokens,
                width)` or `(images, width)`; None is returned for other shapes.
            inputs: As in `forward`.
        """
        present = inputs["present"]
        if not 2 <= states.dim() <= 4 or len(states) != int(on_host(inputs, "present").sum()):
            return None
        last = states.dim() == 3 or getattr(self.backbone, "output_fmt", "NCHW") == "NHWC"
        places = tuple(range(1, states.dim() - 1)) if last else (2, 3)[: states.dim() - 2]
        pooled = states.float().mean(dim=places) if places else states.float()
        out = torch.zeros(*present.shape, pooled.shape[1], device=pooled.device)
        return out.index_put((present,), pooled).flatten(1)

    def mixed(self, inputs: Mapping[str, torch.Tensor], mixing: Mixing) -> Mapping[str, torch.Tensor]:
        """Return the images mixed as pixels; one that is missing in either row stays as it is."""
        pixels, present = inputs["pixels"], inputs["present"]
        both = (present & mixing.other(present))[..., None, None, None]
        return {**inputs, "pixels": torch.where(both, mixing.mixed_pixels(pixels), pixels)}

    def encode(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map uint8 pixels `(images, 3, h, w)` to features `(images, features)`."""
        out = self.backbone(self._normalised(pixels))
        if self.own is not None:
            return image_features(out, class_token=self._class_token)
        if isinstance(out, torch.Tensor):
            return out.flatten(1)
        pooled = getattr(out, "pooler_output", None)
        if pooled is not None:
            return torch.as_tensor(pooled).flatten(1)
        states: torch.Tensor = out[0]
        if states.dim() == 4:
            return states.mean(dim=(-2, -1))
        return states[:, 0] if self._class_token else states.mean(dim=1)

    def encode_map(self, pixels: torch.Tensor) -> torch.Tensor:
        """Map uint8 pixels `(images, 3, h, w)` to the backbone's feature map `(images, channels, h', w')`."""
        layout = self.map_layout()
        assert layout is not None
        return layout.to_map(hidden_states(self.backbone, self._normalised(pixels)))

    def map_layout(self) -> MapLayout | None:
        """Return how the backbone's hidden states are laid out, or None where that is no map; found on first use."""
        if self.own is not None:
            return None
        if not self._layout_known:
            states = self._of_black_image()
            self._layout = find_layout(self.backbone, states, self.spec.size, pooled=self.features)
            self._map_shape = () if self._layout is None else tuple(self._layout.to_map(states).shape[1:])
            self._layout_known = True
        return self._layout

    def trial(self) -> torch.Tensor:
        """Return the features of a black image, `(1, features)`, in eval mode and without gradients."""
        was_training = self.training
        self.eval()
        with torch.no_grad():
            features = self.encode(self._black())
        self.train(was_training)
        return features

    def _of_black_image(self) -> Any:
        """Return the hidden states of a black image; modes and random numbers stay as they were."""
        modes = [(module, module.training) for module in self.modules()]
        devices = [self.mean.device.index or 0] if self.mean.device.type == "cuda" else []
        self.eval()
        try:
            with torch.no_grad(), RandomNumbers(devices=devices):
                return hidden_states(self.backbone, self._normalised(self._black()))
        finally:
            for module, mode in modes:
                module.training = mode

    def _black(self) -> torch.Tensor:
        return torch.zeros(1, 3, *self.spec.size, dtype=torch.uint8, device=self.mean.device)

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        normalised = (pixels.to(self.mean.dtype) - self.mean) / self.std
        return normalised.contiguous(memory_format=self._format)

    @property
    def grains(self) -> frozenset[str]:
        """`row`, and `map` where the backbone has a known feature map."""
        return frozenset({ROW}) if self.map_layout() is None else frozenset({ROW, MAP})

    @property
    def backbone_module(self) -> nn.Module:
        """The backbone."""
        return self.backbone

    @property
    def library_module(self) -> nn.Module | None:
        """The backbone, unless it is the caller's own."""
        return self.backbone if self.own is None else None

    @property
    def layer_example(self) -> torch.Tensor | None:
        """Of a backbone of the caller's own one image, float `(1, 3, h, w)`."""
        return None if self.own is None else torch.zeros(1, 3, *self.spec.size)

    def conv_example(self) -> tuple[nn.Module, torch.Tensor]:
        """Return the backbone and two images on the meta device, float `(2, 3, h, w)`."""
        return self.backbone, torch.empty(2, 3, *self.spec.size, device="meta")
