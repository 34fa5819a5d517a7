"""Matrix products in full single precision, on the CPU or on a GPU."""

import numpy as np
import torch

__all__ = ["UNIT_ROUNDOFF", "product_error", "squared_distances_less_offset", "to_device"]

# Largest relative error of one single-precision operation.
UNIT_ROUNDOFF = 2.0**-24


def to_device(features: np.ndarray, device: torch.device) -> np.ndarray | torch.Tensor:
    """Features for a product: an array stays an array on the CPU, where NumPy's product is the faster one."""
    return features if device.type == "cpu" else torch.from_numpy(features).to(device)


def squared_distances_less_offset(query, gallery, gallery_squares: np.ndarray) -> np.ndarray | torch.Tensor:
    """|g|^2 - 2 q.g, which is the squared distance less |q|^2, for (B, D) and (C, D) features: (B, C)."""
    if isinstance(query, np.ndarray):
        values = np.matmul(query, (-2 * gallery).T)
        values += gallery_squares.astype(np.float32)
        return values
    bias = torch.from_numpy(gallery_squares.astype(np.float32)).to(query.device)
    with torch.no_grad(), torch.autocast(query.device.type, enabled=False), _IEEE():
        return torch.addmm(bias, query, gallery.T, alpha=-2)


def product_error(dim: int, reach: np.ndarray) -> np.ndarray:
    """A bound on the rounding error of -2 q.g in single precision, where ``reach`` is |q| + |g|.

    The errors of a sum of D products are independent and of both signs, so that they grow with the square root of D
    (Higham and Mary, "A new approach to probabilistic rounding error analysis", 2019); this is four times that.
    |q| |g| is at most (reach / 2)^2.
    """
    return 4 * np.sqrt(dim) * UNIT_ROUNDOFF * 2 * (reach / 2) ** 2


class _IEEE:
    """While it lasts, CUDA products are not rounded to TF32, whatever training has chosen."""

    def __enter__(self):
        self._matmul = torch.backends.cuda.matmul
        # PyTorch 2.9 renamed the switch, and refuses to read the old one once the new one was set.
        self._name, off = (
            ("fp32_precision", "ieee") if hasattr(self._matmul, "fp32_precision") else ("allow_tf32", False)
        )
        self._before = getattr(self._matmul, self._name)
        setattr(self._matmul, self._name, off)

    def __exit__(self, *_):
        setattr(self._matmul, self._name, self._before)
