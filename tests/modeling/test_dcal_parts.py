import pytest
import torch
from fastreid.modeling.backbones import BACKBONE_REGISTRY
from fastreid.modeling.heads import REID_HEADS_REGISTRY, EmbeddingHead
from fastreid.modeling.meta_arch import build_model

from dcal_reid.errors import InputError


@pytest.mark.parametrize(
    ("registry", "key", "build_own", "words"),
    [
        (BACKBONE_REGISTRY, "BACKBONE", lambda cfg: torch.nn.Conv2d(3, 48, 16), "builds a Conv2d, .* from dcal_reid"),
        (REID_HEADS_REGISTRY, "HEADS", EmbeddingHead, "has no `combine`, .* derive it from DCALHead"),
    ],
)
def test_parts_that_the_branches_cannot_share_are_refused(tiny_cfg, monkeypatch, registry, key, build_own, words):
    monkeypatch.setitem(registry._obj_map, "own", build_own)
    tiny_cfg.MODEL[key].NAME = "own"
    with pytest.raises(InputError, match=rf"MODEL\.{key}\.NAME 'own' {words}"):
        build_model(tiny_cfg)


def test_groups_must_divide_the_features(tiny_cfg):
    tiny_cfg.MODEL.HEADS.NORM = "GN"
    with pytest.raises(InputError, match=r"32 groups do not divide features of 48; set it BN"):
        build_model(tiny_cfg)
    tiny_cfg.MODEL.HEADS.EMBEDDING_DIM = 64
    build_model(tiny_cfg)
    tiny_cfg.MODEL.HEADS.WITH_BNNECK, tiny_cfg.MODEL.HEADS.EMBEDDING_DIM = False, 0  # nothing is normalised
    build_model(tiny_cfg)


@pytest.mark.parametrize("branch", ["GLCA", "PWCA"])
def test_no_more_blocks_than_the_backbone_has(tiny_cfg, branch):
    tiny_cfg.MODEL.DCAL[branch].NUM_BLOCKS = 4
    with pytest.raises(InputError, match=rf"MODEL\.DCAL\.{branch}\.NUM_BLOCKS is 4, but .* in 3 blocks .*set 3"):
        build_model(tiny_cfg)
