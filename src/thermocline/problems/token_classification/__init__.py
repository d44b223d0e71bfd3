"""Spans of a text: named entities, and whatever else is marked from one character to another."""
