"""A short identifier of a model's weights, the same wherever they are loaded."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

__all__ = ["model_fingerprint"]


def model_fingerprint(weights: Mapping[str, Tensor], settings: str = "") -> str:
    """16 hexadecimal digits that change with any weight or name, and with the settings.

    Features of models with different fingerprints must not be compared.

    Args:
        weights: a ``state_dict()``.
        settings: anything else that affects the features.
    """
    digest = hashlib.blake2b(settings.encode(), digest_size=8)
    for name, tensor in sorted(weights.items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b"")
    return digest.hexdigest()
