"""From names in the config to lists of images. Audit, section 2, rows 23 and 24; section 4, dataset layouts."""

import logging
import random

import pytest
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset

from dcal_reid import compat
from dcal_reid.data import load_dataset
from dcal_reid.data.datasets.loading import load_classes, load_test_items, load_train_items
from dcal_reid.errors import InputError


@pytest.fixture
def register():
    """A function (name, train, query, gallery) that registers a dataset as fast-reid's users do, for one test."""
    names = []

    def add(name, train=(), query=(), gallery=(), **attributes):
        def init(self, root="datasets", **kwargs):
            ImageDataset.__init__(self, list(train), list(query), list(gallery), **kwargs)

        dataset = type(name, (ImageDataset,), {"__init__": init, "dataset_name": name.lower(), **attributes})
        compat.replace_registered(DATASET_REGISTRY, name, dataset)
        names.append(name)

    yield add
    for name in names:
        DATASET_REGISTRY._obj_map.pop(name)


@pytest.mark.parametrize(
    ("wrong", "right"), [("Market1051", "Market1501"), ("market1501", "Market1501"), ("veri", "VeRi")]
)
def test_an_unknown_name_is_answered_with_the_nearest_and_all(root, cfg, wrong, right):
    with pytest.raises(InputError, match=rf"'{wrong}' is not registered; did you mean {right}\?.*CSVReID.*README\.md"):
        load_dataset(wrong, cfg)


def test_the_root_is_read_when_it_is_used(market, cfg, monkeypatch, tmp_path):
    """fast-reid reads FASTREID_DATASETS once, when it is imported."""
    assert load_dataset("Market1501", cfg)
    monkeypatch.setenv("FASTREID_DATASETS", str(tmp_path / "elsewhere"))
    with pytest.raises(InputError, match="elsewhere"):
        load_dataset("Market1501", cfg)
    monkeypatch.delenv("FASTREID_DATASETS")
    with pytest.raises(InputError, match="'datasets/Market"):
        load_dataset("Market1501", cfg)
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    monkeypatch.setenv("FASTREID_DATASETS", f"~/{tmp_path.name}")
    assert load_dataset("Market1501", cfg).train


def test_errors_of_fastreids_own_datasets_are_input_errors(root, cfg):
    message = r"dataset VehicleID: .*vehicleid.* is not found.*see the code of .*datasets\.vehicleid for the"
    with pytest.raises(InputError, match=message):
        load_dataset("VehicleID", cfg)


def test_a_file_that_is_missing_is_looked_up_in_the_readme(root, cfg):
    (root / "fgvc-aircraft-2013b").mkdir()
    with pytest.raises(InputError, match=r"FGVCAircraft: .*variants\.txt.*see datasets/README\.md for the layout"):
        load_dataset("FGVCAircraft", cfg)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ("", r"dataset VeRiWild: AssertionError \(looked in .*\); set FASTREID_DATASETS, .*datasets\.veriwild for"),
        ("id/image;Camera ID\n1\n", r"dataset VeRiWild: IndexError: list index out of range \(looked in"),
    ],
)
def test_files_that_fastreids_own_datasets_fail_on_are_input_errors(root, cfg, info, message):
    lists = root / "VERI-Wild" / "train_test_split"
    lists.mkdir(parents=True)
    (root / "VERI-Wild" / "images").mkdir()
    for name in ("train_list", "test_10000_query", "test_10000"):
        (lists / f"{name}.txt").touch()
    (lists / "vehicle_info.txt").write_text(info)
    with pytest.raises(InputError, match=message) as caught:
        load_dataset("VeRiWild", cfg)
    assert "\n" not in str(caught.value)


def test_a_mistake_in_a_dataset_of_a_user_is_not_hidden(register, cfg):
    register("One", train=None)
    with pytest.raises(TypeError, match="not iterable"):
        load_dataset("One", cfg)


def test_vehicleid_draws_the_same_gallery_every_time(root, cfg):
    """fast-reid draws it with the global generator, so each process evaluates on a different gallery."""
    lists = root / "vehicleid" / "train_test_split"
    lists.mkdir(parents=True)
    (root / "vehicleid" / "image").mkdir()
    (lists / "train_list.txt").write_text("0000001 1\n")
    (lists / "test_list_13164.txt").write_text("".join(f"{i:07d} {i // 5}\n" for i in range(40)))
    random.seed(1)
    state = random.getstate()
    first = load_dataset("VehicleID", cfg).gallery
    assert random.getstate() == state
    random.seed(2)
    assert load_dataset("VehicleID", cfg).gallery == first


def test_several_training_sets_share_no_identity_and_no_camera(register, cfg):
    register("One", [("1/b", 8, 0), ("1/a", "one_7", "one_0")])
    register("Two", [("2/a", 7, 0), ("2/b", 8, 0)])
    cfg.DATASETS.NAMES = ("Two", "One")
    assert load_train_items(cfg) == [
        ("1/a", "one_7", "one_0"),
        ("1/b", "one_8", "one_0"),
        ("2/a", "two_7", "two_0"),
        ("2/b", "two_8", "two_0"),
    ]


def test_what_a_dataset_of_a_user_knows_beside_the_camera_counts_for_nothing(register, cfg):
    """fast-reid reads only the first three fields of an item."""
    register("One", [("a", 1, 0, "red")], [("b", 2, 0, "red")], [("c", 2, 1, "blue", 7)])
    cfg.DATASETS.NAMES, cfg.DATASETS.COMBINEALL = ("One",), True
    assert load_train_items(cfg) == [
        ("a", "one_1", "one_0"), ("b", "one_test_2", "one_0"), ("c", "one_test_2", "one_1")
    ]  # fmt: skip
    assert load_test_items(cfg, "One") == ([("b", 2, 0), ("c", 2, 1)], 1)


@pytest.mark.parametrize(
    ("name", "key", "loader"),
    [
        ("CSVReID", "CSV", "build_test_loader"),
        ("FolderReID", "FOLDER", "build_test_loader"),
        ("CSVFGVC", "CLASS_CSV", "build_classification_test_loader"),
        ("ImageFolderFGVC", "CLASS_FOLDER", "build_classification_test_loader"),
    ],
)
def test_fastreids_own_loader_is_told_which_one_to_use(name, key, loader):
    message = rf"{name} .*DATASETS\.{key} .*use dcal_reid\.data\.build_train_loader\(cfg\) and {loader}\(cfg, name\)"
    with pytest.raises(InputError, match=message):
        DATASET_REGISTRY.get(name)(root="datasets")


@pytest.mark.parametrize("names", [(), ("One", "One")])
def test_no_training_set_or_one_twice(register, cfg, names):
    register("One", [("a", 1, 0)])
    cfg.DATASETS.NAMES = names
    with pytest.raises(InputError, match=r"DATASETS\.NAMES is"):
        load_train_items(cfg)


def test_a_set_without_training_images(register, cfg):
    register("One", query=[("a", 1, 0)])
    cfg.DATASETS.NAMES = ("One",)
    with pytest.raises(InputError, match="dataset One has no training images"):
        load_train_items(cfg)


def test_combineall_counts_no_camera_twice(market, cfg):
    """Audit, row 24: fast-reid counts the cameras of test images as new ones."""
    cfg.DATASETS.NAMES = ("Market1501",)
    cfg.DATASETS.COMBINEALL = True
    items = load_train_items(cfg)
    assert len(items) == 18 + 3 + 6  # without the distractor
    assert {camera for _, _, camera in items} == {"market1501_0", "market1501_1", "market1501_5"}
    assert {"market1501_2", "market1501_1", "market1501_1501"} < {pid for _, pid, _ in items}


def test_combineall_keeps_test_identities_of_other_datasets_apart(register, cfg):
    """In fast-reid's other datasets, test identity 1 need not be training identity 1."""
    register("One", [("a", "one_1", "one_0")], [("b", 1, 0)], [("c", 1, 1), ("b", 1, 0), ("d", -1, 0)], _junk_pids=[-1])
    cfg.DATASETS.NAMES = ("One",)
    cfg.DATASETS.COMBINEALL = True
    assert load_train_items(cfg) == [
        ("a", "one_1", "one_0"),
        ("b", "one_test_1", "one_0"),
        ("c", "one_test_1", "one_1"),
    ]


def test_query_comes_before_gallery(register, cfg):
    register("One", query=[["q", 1, 0]], gallery=[["g", 1, 1], ["h", 2, 0]])
    assert load_test_items(cfg, "One") == ([("q", 1, 0), ("g", 1, 1), ("h", 2, 0)], 1)


@pytest.mark.parametrize(("query", "gallery", "subset"), [([], [("g", 1, 0)], "query"), ([("q", 1, 0)], [], "gallery")])
def test_a_set_without_query_or_gallery(register, cfg, query, gallery, subset):
    register("One", [("a", 1, 0)], query, gallery)
    with pytest.raises(InputError, match=f"dataset One has no {subset} images"):
        load_test_items(cfg, "One")


def test_queries_that_nothing_can_answer(register, cfg, caplog):
    """fast-reid ends with "all query identities do not appear in gallery", after computing every feature."""
    register("None_", query=[("q", 1, 0), ("r", 2, 0)], gallery=[("g", 1, 0), ("h", 3, 1)])
    with pytest.raises(
        InputError, match=r"none of the 2 query images.* of 2 query identities 1 are among the 2 gallery"
    ):
        load_test_items(cfg, "None_")
    register("Some", query=[("q", 1, 0), ("r", 2, 0)], gallery=[("g", 1, 1), ("h", 3, 1)])
    with caplog.at_level(logging.WARNING, logger="dcal_reid"):
        load_test_items(cfg, "Some")
    assert "1 of 2 query images have no image" in caplog.text


def test_shared_query_and_gallery_images_are_reported(register, cfg, caplog):
    items = [("a", 1, 0), ("b", 1, 1)]
    register("One", query=items, gallery=items)
    with caplog.at_level(logging.INFO, logger="dcal_reid"):
        load_test_items(cfg, "One")
    assert "2 images are query and gallery" in caplog.text


def test_tables_and_official_counts_are_logged(market, cfg, caplog):
    cfg.DATASETS.NAMES = ("Market1501",)
    with caplog.at_level(logging.INFO, logger="dcal_reid"):
        load_train_items(cfg)
        load_test_items(cfg, "Market1501")
    rows = [line.replace(" ", "") for line in caplog.text.splitlines()]
    assert {"|train|6|18|3|", "|query|3|3|1|", "|gallery|4|7|3|"} <= set(rows)
    assert "Market1501 has 18 train images here, officially 12936" in caplog.text
    assert "Market1501 has 7 gallery images here, officially 15913" in caplog.text


def test_held_out_training_images_are_what_a_classification_is_tested_on(class_cfg):
    whole = load_classes(class_cfg, "ImageFolderFGVC")
    class_cfg.DATASETS.HOLD_OUT = 2
    part = load_classes(class_cfg, "ImageFolderFGVC")
    assert sorted(part.train + part.test) == sorted(whole.train) and part.test
    assert not set(part.test) & set(whole.test)
