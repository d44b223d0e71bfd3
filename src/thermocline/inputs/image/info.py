"""Image input, described without importing it."""

from __future__ import annotations

from thermocline.registry import InputInfo

INFO = InputInfo(
    name="image",
    implementation="thermocline.inputs.image.kind:ImageInput",
    column_types=("image",),
)
