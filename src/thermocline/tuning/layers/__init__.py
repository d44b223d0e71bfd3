"""Facts: which layers a model has, in which order they run, and which parameters each holds."""
