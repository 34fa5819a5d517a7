"""Weights, configuration and class names in one file."""

from pathlib import Path

from ..engine.predictor import Predictor
from ..engine.weights import save_weights
from ..text import printable

__all__ = ["export_weights"]


def export_weights(predictor: Predictor, output: str | Path) -> None:
    """Write a model as safetensors, which ``Predictor`` reads, and print its size and fingerprint.

    Raises:
        InputError: the name does not end in .safetensors.
    """
    save_weights(output, predictor.cfg, predictor.model, predictor.class_names)
    print(f"{printable(str(output))}: {Path(output).stat().st_size / 1e6:.1f} MB, fingerprint {predictor.fingerprint}")
