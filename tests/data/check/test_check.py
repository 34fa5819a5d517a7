"""The check of a data set, on small ones written to disk with one fault each."""

import re
import shutil

import numpy as np
import pytest
from fastreid.data.datasets import DATASET_REGISTRY
from fastreid.data.datasets.bases import ImageDataset
from helpers.dataset_names import OURS, OWN
from scipy.io import savemat

from dcal_reid.data.check import check_dataset, dataset_named
from dcal_reid.errors import InputError


def test_a_sound_data_set(dogs, cfg):
    check = check_dataset("FolderReID", cfg, workers=0)
    assert (check.ok, check.problems, check.notes, check.missing) == (True, [], [], [])
    train, query, _ = check.splits.values()
    assert (train.images, train.identities, train.cameras, train.one_camera_identities) == (6, 3, 2, 0)
    assert (query.images, query.identities, query.cameras, query.one_camera_identities) == (2, 2, 1, 2)
    assert query.queries_without_match == 0 and train.queries_without_match is None
    assert tuple(train.images_per_identity) == (2, 2, 2)
    assert (tuple(train.width), tuple(train.height)) == ((16, 16, 16), (33, 33.5, 34))
    assert not train.broken and train.identical_files == 0


def test_items_of_a_users_data_set_may_hold_more(dogs, cfg, monkeypatch):
    class Own(ImageDataset):
        def __init__(self, root="datasets", **kwargs):
            train = [(f"{dogs}/train/ace/c1_1.jpg", 1, 0, "red")]
            query = [(f"{dogs}/query/rex/c1_1.jpg", 2, 0, "red", 7)]
            super().__init__(train, query, [(f"{dogs}/gallery/rex/c2_1.jpg", 2, 1)])

    monkeypatch.setitem(DATASET_REGISTRY._obj_map, "Own", Own)
    check = check_dataset("Own", cfg, workers=0)
    assert (check.ok, [split.images for split in check.splits.values()]) == (True, [1, 1, 1])


def test_a_folder_of_another_name_is_pointed_at(market, cfg):
    market.rename(market.with_name("market1501"))
    (market.parent / "pictures").mkdir()
    [note] = check_dataset("Market1501", cfg, workers=0).notes
    assert "market1501'; if it is the data set, rename it to 'Market-1501-v15.09.15'" in note


def test_a_split_that_is_missing_leaves_the_others(dogs, cfg):
    shutil.rmtree(dogs / "query")
    check = check_dataset("FolderReID", cfg, workers=0)
    assert check.missing == ["query/"] and list(check.splits) == ["train", "gallery"]
    [problem] = check.problems
    assert "DATASETS.FOLDER.QUERY_SPLITS asks for 'query'" in problem
    assert re.search(r"query/ +MISSING", check.tree) and re.search(r"train/ +6 images", check.tree)


def test_a_benchmark_of_which_a_folder_is_missing(market, cfg):
    (market / "query").rename(market / "queries")
    check = check_dataset("Market1501", cfg, workers=0)
    assert check.problems[0] == f"not in {str(market)!r}: query/" and check.missing == ["query/"]
    assert "query' not found" in check.problems[1] and not check.splits
    assert check.text().index("query' not found") < check.text().index("Layout:")


def test_a_benchmark_in_another_layout(market, cfg):
    for path in (market / "bounding_box_train").iterdir():
        path.rename(path.with_name(path.name.replace("_c", "-c")))
    [problem] = check_dataset("Market1501", cfg, workers=0).problems
    assert "no image with a name like 0002_c1s1_000451_03.jpg" in problem


def test_classes(root, cfg, write_image):
    home = root / "CUB_200_2011"
    images = [f"{number:03}.{name}/{image}.jpg" for number, name in ((1, "Ani"), (2, "Wren")) for image in "abc"]
    for seed, image in enumerate(images):
        write_image(home / "images" / image, seed)
    shutil.copy(home / "images" / images[0], home / "images" / images[2])
    (home / "classes.txt").write_text("1 001.Ani\n2 002.Wren\n")
    for name, values in (("images", images), ("image_class_labels", [1, 1, 1, 2, 2, 2])):
        (home / f"{name}.txt").write_text("".join(f"{i} {value}\n" for i, value in enumerate(values, 1)))
    (home / "train_test_split.txt").write_text("1 1\n2 1\n3 0\n4 1\n5 1\n6 0\n")
    check = check_dataset("cub200", cfg, workers=0)
    assert [split.identities for split in check.splits.values()] == [2, 2]
    assert check.splits["train"].cameras is None and check.notes == []
    assert "4 images in train, officially 5,994" in check.problems
    assert "2 classes in test, officially 200" in check.problems
    assert re.match(r"identical files in train and test: 1: .*c.jpg = .*a.jpg", check.problems[-1])
    assert "classes, officially" in check.table() and "identit" not in check.table()
    (home / "images.txt").unlink()
    check = check_dataset("CUB200", cfg, workers=0)
    assert check.missing == ["images.txt"] and "images.txt' cannot be read" in check.problems[1]


def test_torchvisions_data_sets(root, cfg, write_image):
    home = root / "stanford_cars"
    (home / "devkit").mkdir(parents=True)
    savemat(home / "devkit" / "cars_meta.mat", {"class_names": np.array(["A", "B"], dtype=object)[None]})
    for folder, file in (("cars_train", "devkit/cars_train_annos"), ("cars_test", "cars_test_annos_withlabels")):
        rows = [(np.uint8(number), f"{number:05}.jpg") for number in (1, 2)]
        savemat(home / f"{file}.mat", {"annotations": np.array([rows], dtype=[("class", object), ("fname", object)])})
        for seed, (_, name) in enumerate(rows):
            write_image(home / folder / name, seed + 10 * (folder == "cars_test"))
    check = check_dataset("StanfordCars", cfg, workers=0)
    assert not check.missing and check.splits["test"].images == 2
    assert all("officially" in problem for problem in check.problems)


def test_csv_for_classification(root, cfg, write_image):
    lines = ["path,label,split"]
    for seed, (split, label) in enumerate([("train", "a"), ("train", "b"), ("test", "a")]):
        write_image(root / f"{seed}.png", seed)
        lines.append(f"{seed}.png,{label},{split}")
    (root / "labels.csv").write_text("\n".join(lines))
    cfg.DATASETS.CLASS_CSV.PATH = "labels.csv"
    check = check_dataset("CSVFGVC", cfg, workers=0)
    assert check.ok and [split.identities for split in check.splits.values()] == [2, 1]
    assert any("no test image for 1 of 2 classes: 'b'" in note for note in check.notes)
    (root / "1.png").unlink()
    assert "do not exist" in check_dataset("CSVFGVC", cfg, workers=0).problems[0]


def test_names():
    for name in [*OURS, *OWN, "DemoReID", "DemoFGVC"]:
        assert dataset_named(name.lower()) == name and DATASET_REGISTRY.get(name)
    assert dataset_named("Market-1501") == "Market1501"
    with pytest.raises(InputError, match=r"no dataset 'VeRi-776'; did you mean VeRi\?"):
        dataset_named("VeRi-776")
    with pytest.raises(InputError, match="did you mean StanfordCars"):
        dataset_named("standford_cars")
