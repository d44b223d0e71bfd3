"""Choosing what is left open: recommendations within a budget, a search over spaces of values, tables of both."""
