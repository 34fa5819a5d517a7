import inspect
import re

from fastreid.config import get_cfg as fastreid_get_cfg
from fastreid.config.defaults import _C

import dcal_reid
from dcal_reid.config import add_dcal_config


def leaves(node, prefix=""):
    for name, value in node.items():
        if isinstance(value, type(node)) and len(value):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name


def test_fastreids_defaults_know_the_keys_and_can_get_them_twice():
    cfg = fastreid_get_cfg()
    before = cfg.dump()
    add_dcal_config(cfg)
    assert cfg.dump() == before
    assert cfg.MODEL.DCAL.PWCA.NUM_BLOCKS == 12


def test_fastreids_own_defaults_stay():
    assert _C.MODEL.DEVICE == "cuda" and _C.MODEL.META_ARCHITECTURE == "Baseline"
    assert dcal_reid.get_cfg().MODEL.DEVICE == "auto"


def test_every_key_has_a_comment():
    lines = inspect.getsource(add_dcal_config).splitlines()
    for number, line in enumerate(lines):
        if re.match(r"    cfg\.[A-Z_.]+ = ", line) and "CN(" not in line:
            above = lines[number - 1].strip()
            assert above.startswith(("#", "cfg.")), line
