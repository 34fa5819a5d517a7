"""Which gallery items are the positives of a query, and which are junk."""

from dataclasses import dataclass

import numpy as np

from ..errors import InputError

__all__ = ["Matches", "find_matches"]


@dataclass(frozen=True)
class Matches:
    """For every query the gallery items with its identity, as one flat list split at ``start``.

    ``gallery[start[i]:start[i + 1]]`` are the gallery positions that share the identity of query ``i``, in ascending
    order, and ``junk`` says which of them also share its camera. The others are its positives.
    """

    start: np.ndarray  # (Q + 1,) int64
    gallery: np.ndarray  # (S,) int64
    junk: np.ndarray  # (S,) bool
    num_gallery: int
    num_cameras: int  # 0: cameras are unknown, so nothing is junk

    @property
    def num_query(self) -> int:
        return len(self.start) - 1

    @property
    def query(self) -> np.ndarray:
        """(S,) the query of each entry of ``gallery``."""
        return np.repeat(np.arange(self.num_query), np.diff(self.start))

    def of_queries(self, queries: slice) -> tuple[np.ndarray, np.ndarray]:
        """``start`` and ``gallery`` of some consecutive queries."""
        start = self.start[queries.start : queries.stop + 1]
        return start - start[0], self.gallery[start[0] : start[-1]]

    def count(self, selected: np.ndarray) -> np.ndarray:
        """(Q,) how many entries of each query are ``selected`` (S,) bool."""
        total = np.concatenate([[0], np.cumsum(selected)])
        return total[self.start[1:]] - total[self.start[:-1]]


def find_matches(query_pids, gallery_pids, query_camids=None, gallery_camids=None) -> Matches:
    """Find positives and junk from identities and cameras.

    Args:
        query_pids, gallery_pids: Q and G identities: integers of any width, booleans or strings; arrays, lists or
            tensors on the CPU.
        query_camids, gallery_camids: Q and G cameras, or None for both: then no gallery item is junk.

    Raises:
        InputError: no query, no gallery, lengths that differ, or values that cannot be labels.
    """
    pids_q, pids_g = _same_codes("identities", query_pids, gallery_pids)
    if len(pids_q) == 0 or len(pids_g) == 0:
        raise InputError(f"nothing to rank: {len(pids_q)} queries, {len(pids_g)} gallery items; neither may be empty")
    if (query_camids is None) != (gallery_camids is None):
        raise InputError("cameras are known on one side only: give query and gallery cameras, or neither")

    by_pid = np.argsort(pids_g, kind="stable")
    first = np.searchsorted(pids_g, pids_q, "left", sorter=by_pid)
    last = np.searchsorted(pids_g, pids_q, "right", sorter=by_pid)
    start = np.concatenate([[0], np.cumsum(last - first)])
    # The position of every entry in by_pid: first[i], first[i] + 1, ... for query i.
    entry = np.arange(start[-1]) - np.repeat(start[:-1] - first, last - first)
    gallery = by_pid[entry]

    junk, num_cameras = np.zeros(len(gallery), dtype=bool), 0
    if query_camids is not None:
        cams_q, cams_g = _same_codes("cameras", query_camids, gallery_camids)
        if len(cams_q) != len(pids_q) or len(cams_g) != len(pids_g):
            raise InputError(
                f"{len(pids_q)} query and {len(pids_g)} gallery identities, but {len(cams_q)} and {len(cams_g)} "
                "cameras: give one camera per item"
            )
        junk = np.repeat(cams_q, last - first) == cams_g[gallery]
        num_cameras = int(max(cams_q.max(), cams_g.max())) + 1
    return Matches(start, gallery, junk, num_gallery=len(pids_g), num_cameras=num_cameras)


def _same_codes(what: str, query, gallery) -> tuple[np.ndarray, np.ndarray]:
    """Replace labels of any type by the integers 0, 1, 2, ... so that equal labels get equal integers."""
    query, gallery = _labels(what, query), _labels(what, gallery)
    if len(query) and len(gallery) and (query.dtype.kind == "U") != (gallery.dtype.kind == "U"):
        raise InputError(f"{what} are text on one side and numbers on the other: {query[0]!r} and {gallery[0]!r}")
    if query.dtype.kind != "U":
        # int64 and uint64 together would become float64, in which large labels collide.
        query, gallery = query.astype(np.int64), gallery.astype(np.int64)
    codes = np.unique(np.concatenate([query, gallery]), return_inverse=True)[1].astype(np.int64)
    return codes[: len(query)], codes[len(query) :]


def _labels(what: str, labels) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.ndim != 1:
        raise InputError(f"{what} must be one label per item, not an array of shape {labels.shape}")
    if labels.dtype == object and all(isinstance(label, str) for label in labels):
        labels = labels.astype(str)
    if labels.size == 0:
        return labels.astype(np.int64)
    if labels.dtype.kind == "f" and np.all(labels == np.rint(labels)):
        labels = labels.astype(np.int64)
    if labels.dtype.kind not in "biuU":
        raise InputError(f"{what} must be integers or text, not {labels.dtype} such as {labels.flat[0]!r}")
    return labels
