"""Towers that give features, and the head over them."""
