"""The configs of docs/results.md: methods differ only in what they are named after and in what was tuned for each."""

from pathlib import Path

import pytest
from helpers.config_values import differing

from dcal_reid.engine import load_config
from dcal_reid.engine.check import check_config

RESULTS = Path(__file__).parents[1] / "configs" / "results"
GLCA, PWCA = "MODEL.DCAL.GLCA.NUM_BLOCKS", "MODEL.DCAL.PWCA.NUM_BLOCKS"
METHODS = {"dcal": {}, "glca": {PWCA: 0}, "pwca": {GLCA: 0}, "baseline": {GLCA: 0, PWCA: 0}}
GROUPS = {
    "birds": "Base-birds.yml",
    "vehicles": "Base-vehicles.yml",
    "vehicles_256": "Base-vehicles-256.yml",
    "vehicles_sgd": "Base-vehicles-sgd.yml",
    "vehicles_slow_heads": "Base-vehicles-slow-heads.yml",
}
NOISE = ["birds/dcal_noise", *(f"vehicles/{name}" for name in ("dcal_noise", "dcal_noise_image", "pwca_noise"))]
FURTHER = {"vehicles_slow_heads/fastreid.yml", *(f"{name}.yml" for name in NOISE)}
TUNED = {"SOLVER.BASE_LR", "SOLVER.HEADS_LR_FACTOR"}


def test_every_group_has_every_method():
    found = {path.relative_to(RESULTS).as_posix() for path in RESULTS.glob("*/*.yml")}
    assert found == {f"{group}/{method}.yml" for group in GROUPS for method in METHODS} | FURTHER


@pytest.mark.parametrize("name", NOISE)
def test_with_noise_a_method_is_the_same_otherwise(name):
    method, _, kind = name.partition("_noise")
    found = differing(*(load_config(str(RESULTS / f"{path}.yml")) for path in (name, method)))
    assert found == {
        "MODEL.DCAL.PWCA.DISTRACTORS": f"noise{kind}",
        "OUTPUT_DIR": f"logs/results/{name}",
    }


def test_fastreids_own_has_the_recipe_of_its_config_and_the_data_of_the_others():
    fastreid = load_config(str(RESULTS / "vehicles_slow_heads" / "fastreid.yml"))
    recipe = load_config(str(RESULTS.parent / "csv" / "fastreid_vit_tiny.yml"))
    others = load_config(str(RESULTS / "Base-vehicles-slow-heads.yml"))
    schedule = {"SOLVER.MAX_EPOCH", "DATALOADER.NUM_INSTANCE"}
    assert {key for key in differing(fastreid, recipe) if not key.startswith("DATASETS.")} - TUNED == schedule | {
        "OUTPUT_DIR"
    }
    assert not {key for key in differing(fastreid, others) if key.startswith(("DATASETS.", "INPUT.", "TEST."))}
    assert not schedule & differing(fastreid, others).keys()


@pytest.mark.parametrize("path", sorted(RESULTS.glob("*/*.yml")), ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_can_be_trained(path):
    check_config(load_config(str(path)))


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(("method", "varied"), METHODS.items(), ids=list(METHODS))
def test_a_method_differs_in_its_branches_and_in_what_was_tuned(group, method, varied):
    found = differing(*(load_config(str(RESULTS / path)) for path in (f"{group}/{method}.yml", GROUPS[group])))
    assert {key: value for key, value in found.items() if key not in TUNED} == varied | {
        "OUTPUT_DIR": f"logs/results/{group}/{method}"
    }
