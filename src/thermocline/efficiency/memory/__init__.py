"""Fewer bytes for the backward pass: joined convolutions and checkpointed layers."""
