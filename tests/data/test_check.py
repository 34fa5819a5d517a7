"""The check of a data set, on small ones written to disk with one fault each."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from fastreid.data.datasets import DATASET_REGISTRY
from PIL import Image
from scipy.io import savemat

from dcal_reid.data.check import check_dataset, dataset_named
from dcal_reid.data.check.layouts import layout_of
from dcal_reid.errors import InputError

README = (Path(__file__).parents[2] / "datasets" / "README.md").read_text()
OURS = ["Market1501", "DukeMTMC", "MSMT17", "MSMT17TrainVal", "VeRi", "CUB200", "StanfordCars", "FGVCAircraft"]
OWN = ["CSVReID", "FolderReID", "ImageFolderFGVC", "CSVFGVC"]


@pytest.fixture
def dogs(root, cfg, write_image):
    """FolderReID: 3 identities to train on, 2 to find, two cameras, an image each."""
    for number, (split, identity) in enumerate(
        [("train", "ace"), ("train", "bob"), ("train", "cat"), ("query", "rex"), ("query", "zoe")]
    ):
        for camera in (1, 2):
            folder = "gallery" if split == "query" and camera == 2 else split
            write_image(root / "dogs" / folder / identity / f"c{camera}_1.jpg", 10 * number + camera, (16, 32 + camera))
    cfg.DATASETS.FOLDER.PATH = "dogs"
    cfg.DATASETS.FOLDER.CAMERA_PATTERN = r"c(\d+)_"
    return root / "dogs"


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


def test_an_empty_and_a_truncated_image_are_broken(dogs, cfg):
    truncated, empty = dogs / "train" / "bob" / "c1_1.jpg", dogs / "gallery" / "rex" / "c2_1.jpg"
    truncated.write_bytes(truncated.read_bytes()[:-200])
    empty.write_bytes(b"")
    check = check_dataset("FolderReID", cfg, workers=0)
    assert [problem.split(": image")[0] for problem in check.problems] == [
        "broken images in train: 1 of 6",
        "broken images in gallery: 1 of 2",
    ]
    assert list(check.splits["train"].broken) == [str(truncated)]
    # Without decoding the file that ends too early looks sound.
    quick = check_dataset("FolderReID", cfg, decode=False, workers=0)
    assert [len(split.broken) for split in quick.splits.values()] == [0, 0, 1]
    assert quick.splits["query"].height == check.splits["query"].height


def test_sizes_are_those_after_the_orientation_in_exif(dogs, cfg):
    path = dogs / "query" / "rex" / "c1_1.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(path).save(path, exif=exif)  # 16x33, to be turned
    for decode in (True, False):
        query = check_dataset("FolderReID", cfg, decode=decode, workers=0).splits["query"]
        assert (query.width.most, query.height.least) == (33, 16)


def test_damaged_exif_is_no_broken_image(dogs, cfg):
    """Training reads such an image."""
    path = dogs / "query" / "rex" / "c1_1.jpg"
    turned, text = (b"\x03\0\x01\0\0\0\x09\0", b"\x02\0\x02\0\0\0\x36\0")  # no orientation; no number
    for kind_and_value in (turned, text):
        entry = b"\x12\x01" + kind_and_value + b"\0\0"
        Image.open(path).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0")
        for decode in (True, False):
            query = check_dataset("FolderReID", cfg, decode=decode, workers=0).splits["query"]
            assert not query.broken and query.height.least == 33


def test_copies_across_splits(dogs, cfg):
    shutil.copy(dogs / "train" / "ace" / "c1_1.jpg", dogs / "gallery" / "zoe" / "c2_2.jpg")
    shutil.copy(dogs / "query" / "rex" / "c1_1.jpg", dogs / "gallery" / "rex" / "c2_2.jpg")
    # The same identity and camera: it is left out of the query's ranking.
    shutil.copy(dogs / "query" / "zoe" / "c1_1.jpg", dogs / "gallery" / "zoe" / "c1_2.jpg")
    shutil.copy(dogs / "train" / "bob" / "c1_1.jpg", dogs / "train" / "bob" / "c1_2.jpg")
    check = check_dataset("FolderReID", cfg, workers=0)
    assert len(check.problems) == 2
    assert re.match(r"identical files in train and gallery: 1: .*zoe/c2_2.jpg = .*ace/c1", check.problems[0])
    assert re.match(r"identical files in query and gallery: 1: .*rex/c2_2.jpg = .*rex/c1_1.jpg", check.problems[1])
    assert [split.identical_files for split in check.splits.values()] == [1, 0, 0]


def test_names_that_are_not_utf8_can_be_printed(dogs, cfg):
    """In most locales Python refuses to print what such a name has in place of its bytes."""
    for identity in ("ace", "bob"):
        shutil.copy(dogs / "query" / "rex" / "c1_1.jpg", dogs / "train" / identity / "c1_\udcff.jpg")
    text = check_dataset("FolderReID", cfg, workers=0).text()
    assert "c1_?.jpg = " in text and text.encode("utf-8")


def test_a_copy_with_another_identity(dogs, cfg):
    shutil.copy(dogs / "train" / "ace" / "c1_1.jpg", dogs / "train" / "bob" / "c1_5.jpg")
    [problem] = check_dataset("FolderReID", cfg, workers=0).problems
    assert re.match(r"identical files with two identities in train: 1: .*bob/c1_5.jpg = .*ace/c1_1.jpg", problem)


def test_a_folder_of_another_name_is_pointed_at(market, cfg):
    market.rename(market.with_name("market1501"))
    (market.parent / "pictures").mkdir()
    [note] = check_dataset("Market1501", cfg, workers=0).notes
    assert "market1501'; if that is it, call it 'Market-1501-v15.09.15'" in note


def test_a_leak_and_queries_without_a_match(dogs, cfg, write_image):
    write_image(dogs / "gallery" / "bob" / "c2_7.jpg", 777)
    (dogs / "gallery" / "zoe" / "c2_1.jpg").rename(dogs / "gallery" / "zoe" / "c1_9.jpg")
    check = check_dataset("FolderReID", cfg, workers=0)
    assert check.problems == ["identities in training and in test: 1: 'bob'"]
    assert check.splits["query"].queries_without_match == 1
    [note] = check.notes
    assert note.startswith("1 of 2 queries have no match from another camera")
    shutil.rmtree(dogs / "gallery" / "rex")
    assert any(
        "nothing can be evaluated" in problem for problem in check_dataset("FolderReID", cfg, workers=0).problems
    )


def test_without_cameras(dogs, cfg):
    cfg.DATASETS.FOLDER.CAMERA_PATTERN = ""
    check = check_dataset("FolderReID", cfg, workers=0)
    assert check.ok and check.splits["train"].cameras is check.splits["train"].one_camera_identities is None
    assert any("has no cameras" in note for note in check.notes)
    assert "camera only" not in check.table() and "cameras" not in check.table()


def test_a_split_that_is_missing_leaves_the_others(dogs, cfg):
    shutil.rmtree(dogs / "query")
    check = check_dataset("FolderReID", cfg, workers=0)
    assert check.missing == ["query/"] and list(check.splits) == ["train", "gallery"]
    [problem] = check.problems
    assert "DATASETS.FOLDER.QUERY_SPLITS asks for 'query'" in problem
    assert re.search(r"query/ +MISSING", check.tree) and re.search(r"train/ +6 images", check.tree)


def test_a_benchmark_against_its_official_numbers(market, cfg):
    check = check_dataset("market-1501", cfg, workers=0)
    assert check.name == "Market1501" and not check.missing
    assert "18 images in train, officially 12,936" in check.problems
    assert "6 identities in train, officially 751" in check.problems
    assert "3 identities in gallery, officially 750" in check.problems
    assert "4 cameras, officially 6" in check.problems
    assert len(check.problems) == 8
    # The fixture's distractor was drawn with the seed of a training image.
    assert "0000_c3s1_000003_00.jpg = " in check.problems[-1]
    gallery = check.splits["gallery"]
    assert (gallery.images, gallery.distractors, gallery.identities) == (7, 1, 3)  # junk is no item


def test_a_benchmark_of_which_a_folder_is_missing(market, cfg):
    (market / "query").rename(market / "queries")
    check = check_dataset("Market1501", cfg, workers=0)
    assert check.problems[0] == f"not in {str(market)!r}: query/" and check.missing == ["query/"]
    assert "query' not found" in check.problems[1] and not check.splits
    assert check.text().index("query' not found") < check.text().index("Layout:")


def test_market_directly_below_the_root(market, cfg, monkeypatch):
    monkeypatch.setenv("FASTREID_DATASETS", str(market))
    check = check_dataset("Market1501", cfg, workers=0)
    assert check.missing == [] and check.splits["train"].images == 18
    assert "MISSING" not in check.tree


def test_a_benchmark_in_another_layout(market, cfg):
    for path in (market / "bounding_box_train").iterdir():
        path.rename(path.with_name(path.name.replace("_c", "-c")))
    [problem] = check_dataset("Market1501", cfg, workers=0).problems
    assert "no image with a name like 0002_c1s1_000451_03.jpg" in problem


@pytest.mark.parametrize("name", OURS)
def test_a_missing_data_set_shows_its_layout_and_its_source(root, cfg, name):
    check = check_dataset(name, cfg, workers=0)
    assert len(check.problems) == 1 and "not found" in check.problems[0]
    assert len(check.missing) == len(layout_of(name, cfg, "").entries)
    text = check.text()
    assert text.count("MISSING") == 1 + len(check.missing)
    assert "Source: https://" in text or "Source: none" in text


@pytest.mark.parametrize("name", OWN)
def test_own_images_without_a_path(root, cfg, name):
    check = check_dataset(name, cfg, workers=0)
    assert len(check.problems) == 1 and ".PATH is empty" in check.problems[0]
    assert re.search(r"<DATASETS\.\w+\.PATH>", check.tree)


@pytest.mark.parametrize("name", OURS)
def test_layouts_are_those_of_the_readme(name, cfg):
    layout = layout_of(name, cfg, "")
    shown = re.findall(rf"^{re.escape(layout.home)}/\n((?:  .*\n)+)", README, re.MULTILINE)[0]
    named = {word for word in shown.split() if word.endswith((".txt", ".mat"))}
    named |= {f"{word.split('/')[0]}/" for word in shown.split() if re.fullmatch(r"\w+/(0000/)?", word)}
    ours = {entry for entry, _ in layout.entries}
    assert named - {"devkit/", "data/"} <= ours | {f"{entry.split('/')[0]}/" for entry in ours}


def test_official_numbers_of_identities(cfg):
    rows = {"Market-1501": "Market1501", "DukeMTMC-reID": "DukeMTMC", "VeRi-776": "VeRi"}
    for row, name in rows.items():
        cells = next(line for line in README.splitlines() if line.startswith(f"| {row} |")).split("|")[2:5]
        found = [re.search(r"\(([\d,]+)\)", cell) for cell in cells]
        official = layout_of(name, cfg, "").identities
        for split, match in zip(("train", "query", "gallery"), found, strict=True):
            assert match is None or int(match[1].replace(",", "")) == official[split]
    assert layout_of("MSMT17TrainVal", cfg, "").identities == {"train": 1041, "query": 3060, "gallery": 3060}


def test_second_version_of_msmt17(root, cfg):
    (root / "MSMT17_V2").mkdir()
    assert check_dataset("MSMT17", cfg).missing[-2:] == ["mask_train_v2/", "mask_test_v2/"]


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


def test_workers_find_what_one_process_finds(dogs, cfg, write_image):
    for number in range(40):
        write_image(dogs / "train" / "ace" / f"c1_{number + 2}.jpg", 100 + number, (16 + number, 32))
    alone, shared = (check_dataset("FolderReID", cfg, workers=workers) for workers in (0, 2))
    assert alone.as_dict() == shared.as_dict()


def test_names():
    for name in [*OURS, *OWN, "DemoReID", "DemoFGVC"]:
        assert dataset_named(name.lower()) == name and DATASET_REGISTRY.get(name)
    assert dataset_named("Market-1501") == "Market1501"
    with pytest.raises(InputError, match=r"no dataset 'VeRi-776'; did you mean VeRi\?"):
        dataset_named("VeRi-776")
    with pytest.raises(InputError, match="did you mean StanfordCars"):
        dataset_named("standford_cars")
