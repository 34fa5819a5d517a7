import pytest

from dcal_reid.published import published


@pytest.mark.parametrize(("config", "figures"), [
    ("veri/dcal_vitb.yml", {"mAP": 80.2, "Rank-1": 96.9}),
    ("cub/dcal_deit_t.yml", {"Top-1": 84.6}),
    ("msmt17/dcal_swin_t.yml", {"mAP": 56.7}),
    ("csv/dcal_vit_tiny.yml", {}),
])  # fmt: skip
def test_published(config, figures, pytestconfig):
    assert published("") == {}
    assert published(pytestconfig.rootpath / "configs" / config) == figures


@pytest.mark.parametrize(("overrides", "remain"), [
    (["DATASETS.HOLD_OUT", "3"], False),
    (["SEED", "1", "DATASETS.TESTS", "('VeRi', 'Market1501')"], False),
    (["MODEL.DCAL.INFERENCE", "sa"], False),
    (["MODEL.BACKBONE.TIMM_MODEL", "vit_tiny_patch16_224"], False),
    (["DATASETS.NAMES", "('Market1501',)"], False),
    (["TEST.RERANK.ENABLED", "True"], False),
    (["SOLVER.BASE_LR", "0.1", "OUTPUT_DIR", "DATASETS.TESTS"], True),
])  # fmt: skip
def test_the_figures_are_for_the_papers_test_alone(overrides, remain, pytestconfig):
    config = pytestconfig.rootpath / "configs" / "veri" / "dcal_vitb.yml"
    assert bool(published(config, overrides)) == remain
