"""Decisions: the learning rate, weight decay and frozen state of every layer."""
