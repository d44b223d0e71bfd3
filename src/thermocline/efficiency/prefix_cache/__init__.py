"""Outputs of frozen first layers, stored by row."""
