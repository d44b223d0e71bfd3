"""Saves time and memory where layers are frozen, and estimates what a plan costs."""
