"""Frames: their columns, their cells as arrays, and batches."""
