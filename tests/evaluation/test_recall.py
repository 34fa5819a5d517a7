from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcal_reid.evaluation import recall
from dcal_reid.evaluation.gallery import Hits
from dcal_reid.evaluation.recall import recall_at

pytestmark = pytest.mark.usefixtures("faiss_on_one_thread")


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**32 - 1))
@settings(max_examples=100)
def test_equals_the_definition(count, k, seed):
    """With a gallery that may return anything: other items, the item itself, or nothing in some places."""
    rng = np.random.default_rng(seed)
    features = rng.integers(0, 5, (count, 3)).astype(np.float32)
    asked = min(k, count - 1) + 1
    ids = np.stack([rng.permutation(np.append(np.arange(count), [-1] * 3))[:asked] for _ in range(count)])
    gallery = SimpleNamespace(metric="euclidean", search=lambda queries, k: Hits(ids, None))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recall, "_BLOCK", 7)
        found = recall_at(k, gallery, features)
    shares = []
    for query in range(count):
        others = [i for i in range(count) if i != query]
        distance = ((features - features[query]) ** 2).sum(axis=1)
        limit = sorted(distance[others])[: asked - 1][-1:]
        got = [i for i in ids[query] if i not in (-1, query)][: asked - 1]
        shares += [sum(distance[i] <= limit[0] for i in got) / (asked - 1)] if limit else []
    assert found == pytest.approx(np.mean(shares) if shares else 1.0)
