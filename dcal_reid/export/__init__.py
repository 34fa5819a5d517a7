"""Export of a trained model: one file of weights, ONNX, a torch.export program."""

from .onnx_model import export_onnx
from .weights import export_weights

__all__ = ["export_onnx", "export_weights"]
