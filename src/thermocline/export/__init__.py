"""Exports of fitted models: ONNX and torch.export programs, and folders that transformers and timm load."""
