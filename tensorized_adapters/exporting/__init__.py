"""A saved adapter for where this package is not: as dense weights, as a program of torch.export, as ONNX."""
