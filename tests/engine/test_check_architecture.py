import pytest
from helpers.config_values import set_value

from dcal_reid.engine.check import check_config
from dcal_reid.errors import InputError


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("MODEL.DCAL.GLCA.RATIO", 0.0, "0.0"),
        ("MODEL.DCAL.GLCA.RATIO", 1.5, "1.5"),
        ("MODEL.DCAL.PWCA.PAIR_SAMPLER", "rolled", "'rolled'"),
        ("MODEL.META_ARCHITECTURE", "DCALL", "'DCALL', which is not registered; similar names: DCAL"),
        ("MODEL.BACKBONE.NAME", "build_resnet_backbone", "use build_timm_backbone"),
        ("MODEL.HEADS.NAME", "EmbeddingHead", "use DCALHead or DCALClassificationHead"),
        ("MODEL.DCAL.PWCA.DISTRACTORS", "external", "EXTERNAL is empty; name a data set"),
        ("MODEL.HEADS.POOL_LAYER", "GeneralizedMeanPoolingP", "set it Identity"),
        ("MODEL.HEADS.NORM", "GhostBN", "set it BN"),
    ],
)
def test_names_the_key_the_value_and_the_cure(tiny_cfg, key, value, words):
    set_value(tiny_cfg, key, value)
    with pytest.raises(InputError) as error:
        check_config(tiny_cfg)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_glca_features_need_glca(tiny_cfg):
    tiny_cfg.MODEL.DCAL.INFERENCE = "glca"
    check_config(tiny_cfg)
    tiny_cfg.MODEL.DCAL.GLCA.NUM_BLOCKS = 0
    with pytest.raises(InputError, match="INFERENCE"):
        check_config(tiny_cfg)
