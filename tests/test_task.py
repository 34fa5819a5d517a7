import pytest
from fastreid.modeling.heads import REID_HEADS_REGISTRY, ClasHead, EmbeddingHead

import dcal_reid
from dcal_reid.modeling.heads import DCALClassificationHead, DCALHead
from dcal_reid.task import is_classification


@pytest.mark.parametrize(("head", "expected"), [
    (ClasHead, True), (DCALClassificationHead, True), (EmbeddingHead, False), (DCALHead, False),
])  # fmt: skip
@pytest.mark.parametrize("is_own", [False, True])
def test_the_head_decides(head, expected, is_own, monkeypatch):
    """This includes a head that a user has derived and registered under any name."""
    cfg = dcal_reid.get_cfg()
    cfg.MODEL.HEADS.NAME = head.__name__
    if is_own:
        cfg.MODEL.HEADS.NAME = "ClasEmbedding"
        monkeypatch.setitem(REID_HEADS_REGISTRY._obj_map, "ClasEmbedding", type("Own", (head,), {}))
    assert is_classification(cfg) is expected
