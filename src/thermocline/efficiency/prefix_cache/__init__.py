"""The outputs of frozen first layers, kept by row."""
