"""Squared distances between two sets of features from one matrix product, on the CPU or on a GPU."""

import numpy as np
import torch

from .threads import for_blocks

__all__ = ["Prepared", "error_bound", "like", "squared_distances"]

# The largest relative error of a single-precision operation.
_UNIT_ROUNDOFF = 2.0**-24


class Prepared:
    """Features in a form in which the product of two rows is their squared distance.

    With x and y shifted by a common centre, which changes no distance,

        |x - y|^2 = [-2 x, 1, |x|^2] . [y, |y|^2, 1].

    The centre keeps the product accurate when all features are alike.

    Args:
        features: (n, D).
        scale: (n,) the factor of each feature.
        centre: (D,) subtracted after scaling.
        device: where products are computed; it holds a single-precision copy of the features.
    """

    def __init__(self, features: np.ndarray, scale: np.ndarray, centre: np.ndarray, device: torch.device):
        dim, squares = features.shape[1], np.empty(len(features))
        right = np.empty((len(features), dim + 2), dtype=np.float32)

        def prepare(start: int) -> None:
            rows = slice(start, start + 32)
            x = features[rows] * scale[rows, None]
            x -= centre
            right[rows, :dim] = x
            squares[rows] = np.einsum("ij,ij->i", x, x)

        for_blocks(prepare, len(features), 32)
        right[:, dim], right[:, dim + 1] = squares, 1
        self.right = right if device.type == "cpu" else torch.from_numpy(right).to(device)
        self.dim, self.lengths = dim, np.sqrt(squares)  # (n,) float64, |x|
        self.centre_length = float(np.linalg.norm(centre))

    def __len__(self) -> int:
        return len(self.right)

    def left(self, rows: slice):
        """(B, D + 2) the features of these rows as the left factor."""
        left = self.right[rows] * -2
        left[:, -2] = 1
        left[:, -1] = self.right[rows, -2]
        return left


def squared_distances(left, right, buffer: np.ndarray | None = None):
    """(B, D + 2) and (C, D + 2) -> (B, C), in single precision whatever precision training uses for its products.

    Arrays give an array, stored in ``buffer`` if given: on the CPU NumPy's product is faster than PyTorch's. Tensors
    give a tensor.
    """
    if isinstance(left, np.ndarray):
        out = None if buffer is None else buffer[: len(left) * len(right)].reshape(len(left), len(right))
        return np.matmul(left, right.T, out=out)
    with torch.no_grad(), torch.autocast(left.device.type, enabled=False), _IEEE():
        return left @ right.T


def error_bound(left: Prepared, right: Prepared) -> np.ndarray:
    """(n,) how far squared distances of ``left`` to ``right`` can be from the exact ones, however they are computed.

    The product must be summed in the order of the columns, possibly in parts, as all implementations do: the squared
    lengths come last, so that the many small terms before them are not rounded like a sum with a large term.

    The errors of a sum of D products are independent and of both signs, so they grow with the square root of D (Higham
    and Mary, "A new approach to probabilistic rounding error analysis", 2019). For x.y their standard deviation is at
    most sqrt(D) / 3 units of |x| |y|, reached only by features that are nearly the same. The bound is four standard
    deviations plus the rounding of x and y, of their squared lengths and of the sum.
    """
    longest = right.lengths.max()
    reach = left.lengths + longest
    product = 2 * 4 / 3 * np.sqrt(left.dim) * left.lengths * longest
    # The last term: scaling and centring round in double precision, which matters if all features are nearly the same.
    return _UNIT_ROUNDOFF * (product + 4 * reach**2) + 2.0**-50 * reach * (reach + 2 * left.centre_length)


def like(array: np.ndarray, values):
    """``array`` as a tensor on the device of ``values`` if that is a tensor, else unchanged."""
    return torch.from_numpy(array).to(values.device) if isinstance(values, torch.Tensor) else array


class _IEEE:
    """A context in which CUDA products do not use TF32."""

    def __enter__(self):
        self._matmul = torch.backends.cuda.matmul
        # PyTorch 2.9 renamed the switch, and refuses to read the old one once the new one has been set.
        renamed = hasattr(self._matmul, "fp32_precision")
        self._name, off = ("fp32_precision", "ieee") if renamed else ("allow_tf32", False)
        self._before = getattr(self._matmul, self._name)
        setattr(self._matmul, self._name, off)

    def __exit__(self, *_):
        setattr(self._matmul, self._name, self._before)
