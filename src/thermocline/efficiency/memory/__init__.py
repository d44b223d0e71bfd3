"""Fewer bytes for the backward pass: folded convolutions and checkpointed layers."""
