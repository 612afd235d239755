"""Exports a saved adapter for use without this package, as dense weights, a program of torch.export, or ONNX."""
