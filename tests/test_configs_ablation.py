"""The ablation configs against the paper (Zhu et al., CVPR 2022, sec. 4.4 and 4.6), typed in here a second time."""

from argparse import Namespace
from pathlib import Path

import pytest
import yaml
from helpers.config_values import differing, flat

from dcal_reid.ablation import group_runs
from dcal_reid.engine import load_config
from dcal_reid.engine.check import check_config

CONFIGS = Path(__file__).parents[1] / "configs"
GLCA, PWCA = "MODEL.DCAL.GLCA.NUM_BLOCKS", "MODEL.DCAL.PWCA.NUM_BLOCKS"
SAMPLER = "MODEL.DCAL.PWCA.PAIR_SAMPLER"
LOADER = {"DATALOADER.SAMPLER_TRAIN": "NaiveIdentitySampler", "DATALOADER.NUM_INSTANCE": 2}
LEAVES = {"cub": "cub/dcal_deit_t", "veri": "veri/dcal_vitb", "msmt17": "msmt17/dcal_vitb"}

TABLE_3 = {"baseline": {GLCA: 0, PWCA: 0}, "glca": {PWCA: 0}, "pwca": {GLCA: 0}, "dcal": {}}
TABLE_4 = {
    "none": {GLCA: 0, PWCA: 0},
    "pwca": {GLCA: 0},
    "inter": {GLCA: 0, SAMPLER: "inter"},
    "intra": {GLCA: 0, SAMPLER: "intra"},
    "balanced": {GLCA: 0, SAMPLER: "balanced"},
    "noise_image": {GLCA: 0, PWCA: 0, "MODEL.NOISE.IMAGE": 0.5},
    "noise_label": {GLCA: 0, PWCA: 0, "MODEL.NOISE.LABEL": 0.1},
    "noise": {GLCA: 0, "MODEL.DCAL.PWCA.DISTRACTORS": "noise"},
}
EXTERNAL = {GLCA: 0, "MODEL.DCAL.PWCA.DISTRACTORS": "external"}
FIG_2_GLCA = {"m0": {GLCA: 0, PWCA: 0}, "m1": {PWCA: 0}} | {f"m{m}": {GLCA: m, PWCA: 0} for m in (2, 3, 4)}
FIG_2_PWCA = {f"t{t}": {GLCA: 0, PWCA: t} for t in range(0, 12, 2)} | {"t12": {GLCA: 0}}
# Group: the config that it is based on, and how each variant differs from that.
GROUPS = {
    **{f"table3_{name}": (leaf, TABLE_3) for name, leaf in LEAVES.items()},
    "table4_cub": (
        LEAVES["cub"],
        TABLE_4
        | {name: TABLE_4[name] | LOADER for name in ("intra", "balanced")}
        | {"external": EXTERNAL | {"MODEL.DCAL.PWCA.EXTERNAL": ("StanfordCars",)}},
    ),
    "table4_msmt17": (
        LEAVES["msmt17"],
        TABLE_4 | {"external": EXTERNAL | {"MODEL.DCAL.PWCA.EXTERNAL": ("VeRi",)}},
    ),
    "glca_variants": (
        LEAVES["cub"],
        {
            "glca": {PWCA: 0},
            "penultimate": {PWCA: 0, "MODEL.DCAL.GLCA.SELECTION": "penultimate"},
            "random": {PWCA: 0, "MODEL.DCAL.GLCA.SELECTION": "random"},
            "local_keys": {PWCA: 0, "MODEL.DCAL.GLCA.KEYS": "local"},
            "cross_token": {PWCA: 0, "MODEL.DCAL.GLCA.KEYS": "local", "MODEL.DCAL.GLCA.READOUT": "cls"},
        },
    ),
    "glca_init": (LEAVES["cub"], {"copy": {}, "fresh": {"MODEL.DCAL.GLCA.INIT": "fresh"}}),
    **{f"fig2_glca_{name}": (LEAVES[name], FIG_2_GLCA) for name in ("cub", "msmt17")},
    **{f"fig2_pwca_{name}": (LEAVES[name], FIG_2_PWCA) for name in ("cub", "msmt17")},
    "glca_ratio": (
        LEAVES["cub"],
        {f"r{r:03}": {"MODEL.DCAL.GLCA.RATIO": r / 100} for r in (5, 20, 30, 50, 75, 100)} | {"r010": {}},
    ),
    "glca_readout": (
        LEAVES["cub"],
        {"mean": {}} | {name: {"MODEL.DCAL.GLCA.READOUT": name.replace("_", "+")} for name in ("cls", "cls_local")},
    ),
    "glca_input": (LEAVES["cub"], {"parallel": {}, "stacked": {"MODEL.DCAL.GLCA.INPUT": "stacked"}}),
    "distractor_stream": (LEAVES["cub"], {"sa": {}, "pwca": {"MODEL.DCAL.PWCA.DISTRACTOR_STREAM": "pwca"}}),
    "neck_statistics": (
        LEAVES["veri"],
        {"sa": {}, "sa_pwca": {"MODEL.DCAL.PWCA.NECK_STATISTICS": "sa+pwca"}},
    ),
    "loss_weights": (
        LEAVES["cub"],
        {
            "learned": {},
            "fixed": {"MODEL.DCAL.LOSS_WEIGHTS": "fixed", "MODEL.DCAL.LOSS_WEIGHTS_INIT": [1.0986, 1.0986, 1.0986]},
        },
    ),
    "inference": (LEAVES["cub"], {"both": {}} | {name: {"MODEL.DCAL.INFERENCE": name} for name in ("sa", "glca")}),
}
VARIANTS = [(group, name) for group, (_, names) in GROUPS.items() for name in names]

# Table 3 and 4: top-1 on CUB-200-2011; mAP, rank-1 on VeRi-776 and MSMT17. Sec. 4.6: without GLCA at inference.
PUBLISHED = {
    "table3_cub": {"baseline": "82.1", "glca": "83.1", "pwca": "83.1", "dcal": "84.6"},
    "table3_veri": {"baseline": "78.1 96.0", "glca": "79.5 96.5", "pwca": "79.2 96.5", "dcal": "80.2 96.9"},
    "table3_msmt17": {"baseline": "61.6 81.4", "glca": "63.7 83.0", "pwca": "62.8 82.3", "dcal": "64.0 83.1"},
    "table4_cub": {"none": "82.1", "pwca": "83.1", "intra": "81.7", "inter": "83.0", "balanced": "83.0"}
    | {"noise_image": "77.3", "noise_label": "81.6", "noise": "82.1", "external": "82.5"},
    "table4_msmt17": {"none": "61.6", "pwca": "62.8", "intra": "62.2", "inter": "62.7", "balanced": "62.5"}
    | {"noise_image": "56.0", "noise_label": "60.8", "noise": "62.1", "external": "62.2"},
    "glca_variants": {"glca": "83.1", "penultimate": "82.8", "random": "82.6"}
    | {"local_keys": "82.6", "cross_token": "82.1"},
    "inference": {"both": "84.6", "sa": "84.3"},
}


def test_the_groups():
    found = {path.name: {leaf.stem for leaf in path.iterdir()} for path in (CONFIGS / "ablation").iterdir()}
    assert found == {group: set(names) for group, (_, names) in GROUPS.items()}


@pytest.mark.parametrize(("group", "name"), VARIANTS)
def test_a_variant_differs_from_its_base_in_what_is_varied_alone(group, name):
    leaf, names = GROUPS[group]
    cfg = load_config(str(CONFIGS / "ablation" / group / f"{name}.yml"))
    check_config(cfg)
    base = load_config(str(CONFIGS / f"{leaf}.yml"))
    assert differing(cfg, base) == names[name] | {"OUTPUT_DIR": f"logs/ablation/{group}/{name}"}


@pytest.mark.parametrize(("group", "name"), VARIANTS)
def test_comment_names_the_published_figures_and_the_command(group, name):
    aim, *_, command = (
        line
        for line in (CONFIGS / "ablation" / group / f"{name}.yml").read_text().splitlines()
        if line.startswith("# ")
    )
    figures = PUBLISHED.get(group, {}).get(name)
    if figures is not None:
        assert figures.split() == [word.strip(".,") for word in aim.split(" of the paper: ")[1].split()[1::2]]
    assert command == f"# python tools/train_net.py --config-file configs/ablation/{group}/{name}.yml"


@pytest.mark.parametrize("group", [group for group in GROUPS if group[:6] not in ("table3", "table4", "glca_v")])
def test_what_is_varied_does_not_depend_on_the_base(group, tmp_path):
    """On a base whose values are nobody's defaults, every variant still has the value that it is named after."""
    strange = {
        "GLCA": {"NUM_BLOCKS": 7, "RATIO": 0.77, "INPUT": "stacked", "READOUT": "cls", "INIT": "fresh"},
        "PWCA": {"NUM_BLOCKS": 7, "DISTRACTOR_STREAM": "pwca", "NECK_STATISTICS": "sa+pwca"},
        "LOSS_WEIGHTS": "fixed",
        "LOSS_WEIGHTS_INIT": [7.0, 7.0, 7.0],
        # Without GLCA, glca is refused.
        "INFERENCE": "glca" if group == "inference" else "sa",
    }
    base = tmp_path / "base.yml"
    base.write_text(yaml.safe_dump({"_BASE_": str(CONFIGS / "csv/dcal_vit_tiny.yml"), "MODEL": {"DCAL": strange}}))
    none = {"variants": [], "vary": [], "folds": [], "opts": []}
    args = Namespace(group=group, seeds=[3], config_file=str(base), output=str(tmp_path), num_gpus=1, **none)
    leaf, names = GROUPS[group]
    varied = {key for keys in names.values() for key in keys}
    expected = dict(flat(load_config(str(CONFIGS / f"{leaf}.yml"))))
    for run in group_runs(args):
        found = dict(flat(run.cfg))
        assert {key: found[key] for key in varied} == {key: expected[key] for key in varied} | names[run.variant]
        unvaried = differing(run.cfg, load_config(str(base))).keys() - varied
        assert unvaried == {"OUTPUT_DIR", "SEED"}
