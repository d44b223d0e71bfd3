"""Numeric and categorical columns: arrays and a small network."""
