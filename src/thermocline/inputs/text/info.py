"""Text input, described without importing it."""

from __future__ import annotations

from thermocline.registry import InputInfo

INFO = InputInfo(
    name="text",
    implementation="thermocline.inputs.text.kind:TextInput",
    column_types=("text",),
)
