"""A trained model for elsewhere: one file of weights, ONNX, the program of torch.export."""

from .onnx_model import export_onnx
from .weights import export_weights

__all__ = ["export_onnx", "export_weights"]
