"""Text input, described without importing it."""

from __future__ import annotations

from thermocline.inputs.text.options import TextOptions
from thermocline.registry import InputInfo

INFO = InputInfo(
    name="text",
    implementation="thermocline.inputs.text.kind:TextInput",
    column_types=("text",),
    has_backbone=True,
    options={"model.text": TextOptions},
    reads=frozenset({"model.tfidf", "env.micro_batch_tokens", "env.compile"}),
    size_options={"model.text.max_length": (8, 16)},
    free_options=frozenset(
        {"model.text.frozen_layers", "model.text.max_length", "model.text.join", "model.text.trust_remote_code"}
    ),
)
