"""Layers of a model, plans for them, and schedules; works on any `nn.Module`."""
