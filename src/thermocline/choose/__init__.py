"""Choosing what is left open: a search over spaces of values, and the table of the fits that were compared."""
