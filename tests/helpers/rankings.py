"""Test sets to rank, and whether two results are the same."""

import numpy as np
from hypothesis import strategies as st


def same(result, other):
    for name in ("ap", "inp", "first_rank", "num_positives", "num_junk"):
        assert np.array_equal(getattr(result, name), getattr(other, name), equal_nan=True), name


@st.composite
def matrices_with_ties(draw):
    """Small test sets in which distances tie, identities are missing, and junk is common."""
    num_query, num_gallery = draw(st.integers(1, 8)), draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    levels, pids, cams = draw(st.sampled_from([1, 3, 1000])), draw(st.integers(1, 8)), draw(st.integers(1, 3))
    distances = rng.integers(0, levels, (num_query, num_gallery)).astype(
        draw(st.sampled_from([np.float32, np.float64]))
    )
    labels = [rng.integers(0, n, size) for n in (pids, cams) for size in (num_query, num_gallery)]
    return distances / levels, *labels


def realistic(seed=0, num_query=60, num_gallery=700, dim=128, noise=1.7):
    rng = np.random.default_rng(seed)
    pids = rng.integers(0, 50, num_query + num_gallery)
    features = rng.standard_normal((50, dim))[pids] + noise * rng.standard_normal((len(pids), dim))
    cams = rng.integers(0, 5, len(pids))
    features = features.astype(np.float32)
    q, g = slice(None, num_query), slice(num_query, None)
    return features[q], features[g], pids[q], pids[g], cams[q], cams[g]
