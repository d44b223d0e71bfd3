"""Pairs of texts, of images, or one of each: which match, and search."""
