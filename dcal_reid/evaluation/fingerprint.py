"""A short name for the weights of a model, the same wherever they are loaded."""

import hashlib

import torch

__all__ = ["model_fingerprint"]


def model_fingerprint(model: torch.nn.Module) -> str:
    """16 hexadecimal digits that change with any weight, buffer or name in ``model``.

    Features of models with different fingerprints must not be compared.
    """
    digest = hashlib.blake2b(digest_size=8)
    for name, tensor in sorted(model.state_dict().items()):
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy() if tensor.numel() else b"")
    return digest.hexdigest()
