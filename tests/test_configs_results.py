"""The configs of docs/results.md: methods that differ in what they are named for and in what was tuned for each."""

from pathlib import Path

import pytest
from config_values import differing

from dcal_reid.engine import load_config
from dcal_reid.engine.check import check_config

VEHICLES = Path(__file__).parents[1] / "configs" / "results" / "vehicles"
GLCA, PWCA = "MODEL.DCAL.GLCA.NUM_BLOCKS", "MODEL.DCAL.PWCA.NUM_BLOCKS"
TUNED = {"SOLVER.BASE_LR"}


@pytest.mark.parametrize("path", sorted(VEHICLES.glob("*.yml")), ids=lambda path: path.stem)
def test_can_be_trained(path):
    check_config(load_config(str(path)))


@pytest.mark.parametrize(("name", "varied"), [
    ("dcal", {}), ("glca", {PWCA: 0}), ("pwca", {GLCA: 0}), ("baseline", {GLCA: 0, PWCA: 0}),
])  # fmt: skip
def test_a_method_differs_in_its_branches_and_in_what_was_tuned(name, varied):
    paths = (VEHICLES / f"{name}.yml", VEHICLES.parent / "Base-vehicles.yml")
    found = differing(*(load_config(str(path)) for path in paths))
    assert {key: value for key, value in found.items() if key not in TUNED} == varied | {
        "OUTPUT_DIR": f"logs/results/vehicles/{name}"
    }
