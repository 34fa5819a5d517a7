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
