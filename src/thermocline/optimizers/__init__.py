"""Optimizers: which there are, how one is made and checked, its state by the names of parameters, its size."""
