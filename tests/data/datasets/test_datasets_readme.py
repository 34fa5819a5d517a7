"""What datasets/README.md tells users to write works, and its numbers are those that the code checks."""

import re
from pathlib import Path

import pytest
import yaml
from fastreid.config import CfgNode
from fastreid.data.datasets import DATASET_REGISTRY

from dcal_reid import get_cfg
from dcal_reid.data import load_dataset

README = (Path(__file__).parents[3] / "datasets" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, re.DOTALL)
CONFIGS = [text for language, text in BLOCKS if language == "yaml"]


def configured(text):
    cfg = get_cfg()
    cfg.merge_from_other_cfg(CfgNode(yaml.safe_load(text)))
    return cfg


def test_csv_example(root):
    [table] = [text for _, text in BLOCKS if text.startswith("path,identity")]
    (root / "crops" / "images").mkdir(parents=True)
    (root / "crops" / "labels.csv").write_text(table)
    for name in re.findall(r"images/\d+\.jpg", table):
        (root / "crops" / name).touch()
    dataset = load_dataset("CSVReID", configured(CONFIGS[0]))
    assert dataset.identity_names == ["bus 12", "bus 31"] and dataset.camera_names == ["north gate", "south gate"]
    assert len(dataset.train) == 2 and len(dataset.query) == len(dataset.gallery) == 1


def test_split_and_camera_example(root):
    cfg = configured(CONFIGS[1])
    (root / "vehicles").mkdir()
    lines = ["path,identity,camera,split"]
    for number, split in enumerate(("train", "val", "test")):
        for camera in ("cam1", "cam2"):
            lines.append(f"{number}_{camera}.jpg,{number},{camera},{split}")
            (root / "vehicles" / f"{number}_{camera}.jpg").touch()
    (root / "vehicles" / "labels.csv").write_text("\n".join(lines))
    dataset = load_dataset("CSVReID", cfg)
    assert dataset.parse_data(dataset.query) == dataset.parse_data(dataset.gallery) == (2, 1)


def test_folder_example(root):
    [tree] = [text for _, text in BLOCKS if text.startswith("dogs/")]
    for split, identities, name in re.findall(r"^ +(\w+)/ +(.+)/ +\.\.\. +(\S+\.jpg)$", tree, re.MULTILINE):
        for identity in identities.split("/  "):
            path = root / "dogs" / split / identity / name
            path.parent.mkdir(parents=True)
            path.touch()
    dataset = load_dataset("FolderReID", configured(CONFIGS[2]))
    assert dataset.identity_names == ["ace", "bob", "rex"] and dataset.camera_names == ["1", "2"]
    assert dataset.train and dataset.query and dataset.gallery


@pytest.mark.parametrize(("name", "config"), [("ImageFolderFGVC", CONFIGS[3]), ("CSVFGVC", CONFIGS[4])])
def test_classification_examples(root, name, config):
    [tree] = [text for _, text in BLOCKS if text.startswith("beetles/")]
    [table] = [text for _, text in BLOCKS if text.startswith("path,label")]
    paths = [
        f"{split}/{class_name}/{image}"
        for split, classes, image in re.findall(r"^ +(\w+)/ +(.+)/ +\.\.\. +(\S+\.jpg)$", tree, re.MULTILINE)
        for class_name in classes.split("/  ")
    ]
    paths += re.findall(r"images/\d+\.jpg", table)
    for path in paths:
        (root / "beetles" / path).parent.mkdir(parents=True, exist_ok=True)
        (root / "beetles" / path).touch()
    (root / "beetles" / "labels.csv").write_text(table)
    dataset = load_dataset(name, configured(config))
    assert dataset.class_names == ["ladybird", "weevil"] and len(dataset.train) == len(dataset.test) == 2


@pytest.mark.parametrize("name", ["CUB200", "StanfordCars", "FGVCAircraft"])
def test_official_counts_of_classification(name):
    [line] = [line for line in README.splitlines() if f", `{name}` |" in line and line.count("|") == 5]
    classes, train, test = (int(cell.replace(",", "")) for cell in line.split("|")[2:5])
    dataset = DATASET_REGISTRY.get(name)
    assert (dataset.official_classes, dataset.official) == (classes, {"train": train, "test": test})
    assert f"\n{dataset.home}/\n" in README


@pytest.mark.parametrize(
    ("row", "name"),
    [
        ("Market-1501", "Market1501"),
        ("DukeMTMC-reID", "DukeMTMC"),
        ("MSMT17, `MSMT17TrainVal`", "MSMT17TrainVal"),
        ("MSMT17, `MSMT17`", "MSMT17"),
        ("VeRi-776", "VeRi"),
    ],
)
def test_official_counts(row, name):
    [line] = [line for line in README.splitlines() if line.startswith(f"| {row} |")]
    train, query, gallery, cameras = (
        int(re.match(r"[\d,]+", cell.strip())[0].replace(",", "")) for cell in line.split("|")[2:6]
    )
    dataset = DATASET_REGISTRY.get(name)
    assert dataset.official == {"train": train, "query": query, "gallery": gallery}
    assert dataset.num_cameras == cameras


def test_the_names_in_the_table_are_registered():
    [table] = re.findall(r"^\| name \| what \|\n(.*?)\n\n", README, re.DOTALL | re.MULTILINE)
    names = [name for line in table.splitlines() for name in re.findall(r"`(\w+)`", line.split("|")[1])]
    assert len(names) == 14 and all(DATASET_REGISTRY.get(name) for name in names)
