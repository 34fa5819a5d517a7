"""Market-1501, DukeMTMC-reID, MSMT17, VeRi-776: read by the file name alone, sorted, checked. Audit, rows 22 to 24."""

import logging
import os
import warnings

import pytest
from fastreid.data import datasets as fastreid_datasets
from fastreid.data.datasets import DATASET_REGISTRY

import dcal_reid.data  # noqa: F401
from dcal_reid.data import load_dataset
from dcal_reid.data.datasets.loading import load_train_items
from dcal_reid.data.demo import write_demo_dataset
from dcal_reid.errors import InputError


@pytest.fixture
def duke(root):
    for folder, pid in (("bounding_box_train", 1), ("query", 5), ("bounding_box_test", 5)):
        path = root / "DukeMTMC-reID" / folder / f"{pid:04d}_c{8 if folder == 'query' else 2}_f0046182.jpg"
        path.parent.mkdir(parents=True)
        path.touch()
    return root / "DukeMTMC-reID"


@pytest.fixture
def veri(root):
    for folder, name in (
        ("image_train", "0001_c001_00016450_0.jpg"),
        ("image_query", "0002_c002_00030600_0.jpg"),
        ("image_test", "0002_c020_00030600_0.jpg"),
    ):
        path = root / "veri" / folder / name
        path.parent.mkdir(parents=True)
        path.touch()
    return root / "veri"


def write_msmt17(home):
    version2 = home.name == "MSMT17_V2"
    folders = {"train": "mask_train_v2" if version2 else "train", "test": "mask_test_v2" if version2 else "test"}
    lists = {
        "train": (
            "train",
            [("0000/0000_000_01_0303morning_0008_0.jpg", 0), ("0001/0001_000_15_0303noon_0008_0.jpg", 1)],
        ),
        "val": ("train", [("0000/0000_001_02_0303morning_0009_0.jpg", 0)]),
        "query": ("test", [("0000/0000_000_03_0303morning_0010_0.jpg", 0)]),
        "gallery": ("test", [("0000/0000_000_04_0303morning_0011_0.jpg", 0)]),
    }
    for name, (folder, lines) in lists.items():
        for path, _ in lines:
            file = home / folders[folder] / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        (home / f"list_{name}.txt").write_text("".join(f"{path} {pid}\n" for path, pid in lines))


@pytest.mark.parametrize("name", ["Market1501", "DukeMTMC", "MSMT17", "VeRi"])
def test_the_corrected_classes_take_the_places_of_fastreids(name):
    registered = DATASET_REGISTRY.get(name)
    assert registered.__module__.startswith("dcal_reid")
    assert issubclass(registered, getattr(fastreid_datasets, name))


def test_market(market, cfg):
    dataset = load_dataset("Market1501", cfg)
    assert dataset.train[0] == (
        str(market / "bounding_box_train" / "0002_c1s1_000001_00.jpg"),
        "market1501_2",
        "market1501_0",
    )
    assert len(dataset.train) == 18 and dataset.parse_data(dataset.train) == (6, 3)
    assert [item[1:] for item in dataset.query] == [(1, 0), (3, 0), (1501, 0)]
    # junk (-1) is left out, the distractor (0) stays
    assert [item[1] for item in dataset.gallery] == [0, 1, 1, 3, 3, 1501, 1501]


def test_market_is_what_fastreid_reads_where_fastreid_is_right(market, cfg):
    ours, theirs = load_dataset("Market1501", cfg), fastreid_datasets.Market1501(root=str(market.parent))
    for subset in ("train", "query", "gallery"):
        assert getattr(ours, subset) == sorted(getattr(theirs, subset))


def test_identities_come_from_the_file_name_not_from_the_folder(market, cfg, monkeypatch):
    """Audit, row 22: below a folder ``run12_c3`` fast-reid sees nothing but identity 12 in camera 3."""
    trap = market.parent / "run12_c3"
    trap.mkdir()
    market.rename(trap / market.name)
    monkeypatch.setenv("FASTREID_DATASETS", str(trap))
    theirs, ours = fastreid_datasets.Market1501(root=str(trap)), load_dataset("Market1501", cfg)
    assert theirs.parse_data(theirs.train) == (1, 1)
    assert ours.parse_data(ours.train) == (6, 3)


def test_files_are_sorted_whatever_the_disk_says(market, cfg, monkeypatch):
    """Audit, row 24."""
    expected = load_dataset("Market1501", cfg).train
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: listdir(path)[::-1])
    assert load_dataset("Market1501", cfg).train == expected


def test_other_files_are_reported_and_left_out(market, cfg, caplog):
    """fast-reid crashes on an image without the pattern, and takes no image whose suffix is not ``.jpg``."""
    (market / "bounding_box_train" / "copy of.jpg").touch()
    (market / "bounding_box_train" / "x_0002_c1.jpg").touch()
    (market / "bounding_box_train" / "Thumbs.db").touch()
    (market / "bounding_box_train" / "0002_c1s1_000009_00.PNG").touch()
    with caplog.at_level(logging.WARNING, logger="dcal_reid"):
        dataset = load_dataset("Market1501", cfg)
    assert len(dataset.train) == 19
    assert "2 images in" in caplog.text and "copy of.jpg, x_0002_c1.jpg" in caplog.text
    assert "0002_c1s1_000451_03.jpg" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("1502_c1s1_000001_00.jpg", "identity 1502, but Market1501 has 0 to 1501"),
        ("0002_c7s1_000001_00.jpg", "camera 7, but Market1501 has 1 to 6"),
        ("0002_c0s1_000001_00.jpg", "camera 0"),
        ("0002_c10s1_000001_00.jpg", "camera 10"),
    ],
)
def test_numbers_out_of_range_are_named_with_their_file(market, cfg, name, message):
    (market / "bounding_box_train" / name).touch()
    with pytest.raises(InputError, match=rf"{name}.*{message}"):
        load_dataset("Market1501", cfg)


def test_a_folder_of_other_images_is_refused(market, cfg):
    for path in (market / "bounding_box_train").iterdir():
        path.rename(path.with_name(path.name.replace("_c", "-c")))
    with pytest.raises(InputError, match=r"no image with a name like 0002_c1s1_000451_03\.jpg in .*bounding_box_train"):
        load_dataset("Market1501", cfg)


@pytest.mark.parametrize(
    ("name", "looked_for"),
    [
        ("Market1501", "Market-1501-v15.09.15"),
        ("DukeMTMC", "DukeMTMC-reID"),
        ("MSMT17", "MSMT17_V1"),
        ("MSMT17TrainVal", "MSMT17_V1"),
        ("VeRi", "veri"),
        ("DemoReID", "demo-reid"),
    ],
)
def test_a_missing_dataset_names_the_path_looked_for(root, cfg, name, looked_for):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            InputError, match=rf"{root}/{looked_for}' not found.*FASTREID_DATASETS.*datasets/README\.md"
        ):
            load_dataset(name, cfg)


def test_a_missing_part_is_named(market, cfg):
    (market / "query").rename(market / "queries")
    with pytest.raises(InputError, match=r"Market-1501-v15\.09\.15/query' not found"):
        load_dataset("Market1501", cfg)


def test_duke(duke, cfg):
    dataset = load_dataset("DukeMTMC", cfg)
    assert [item[1:] for item in dataset.train] == [("dukemtmc_1", "dukemtmc_1")]
    assert [item[1:] for item in dataset.query] == [(5, 7)]
    (duke / "query" / "0005_c9_f0046182.jpg").touch()
    with pytest.raises(InputError, match="camera 9, but DukeMTMC has 1 to 8"):
        load_dataset("DukeMTMC", cfg)


def test_veri(veri, cfg):
    dataset = load_dataset("VeRi", cfg)
    assert [item[1:] for item in dataset.train] == [("veri_1", "veri_0")]
    assert [item[1:] for item in dataset.gallery] == [(2, 19)]
    (veri / "image_test" / "0777_c001_00016450_0.jpg").touch()
    with pytest.raises(InputError, match="identity 777, but VeRi has 0 to 776"):
        load_dataset("VeRi", cfg)


@pytest.mark.parametrize("version", ["MSMT17_V1", "MSMT17_V2"])
def test_msmt17_with_and_without_validation_images(root, cfg, version):
    write_msmt17(root / version)
    dataset = load_dataset("MSMT17", cfg)
    assert [item[1:] for item in dataset.train] == [("msmt17_0", "msmt17_0"), ("msmt17_1", "msmt17_14")]
    both = load_dataset("MSMT17TrainVal", cfg)
    assert [item[1:] for item in both.train] == [*[item[1:] for item in dataset.train], ("msmt17_0", "msmt17_1")]
    # test identities are counted on from the training identities
    assert [item[1:] for item in dataset.query] == [item[1:] for item in both.query] == [(2, 2)]
    assert both.gallery == dataset.gallery and both.gallery[0][1:] == (2, 3)


def test_a_part_of_msmt17_joins_no_two_identities(root, cfg):
    """Two training identities, 0 and 2; the test identity 0 gets the number 2."""
    write_msmt17(root / "MSMT17_V1")
    listed = root / "MSMT17_V1" / "list_train.txt"
    listed.write_text(listed.read_text().replace(".jpg 1", ".jpg 2"))
    cfg.DATASETS.NAMES, cfg.DATASETS.COMBINEALL = ("MSMT17",), True
    assert len({pid for _, pid, _ in load_train_items(cfg)}) == 3


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("0000/0000_000_01_0303morning_0099_0.jpg 0", "lists 1 images that do not exist"),
        ("0000_000_01_0303morning_0008_0.jpg", "line 4: .* is not like '0000/0000_000_01"),
        ("0000/0000_000_16_0303morning_0008_0.jpg 0", "camera 16, but MSMT17 has 1 to 15"),
    ],
)
def test_msmt17_list_errors(root, cfg, line, message):
    write_msmt17(root / "MSMT17_V1")
    with open(root / "MSMT17_V1" / "list_train.txt", "a") as file:
        file.write(f"\n{line}\n")
    with pytest.raises(InputError, match=message):
        load_dataset("MSMT17", cfg)


def test_msmt17_list_in_an_encoding(root, cfg):
    """Windows starts UTF-8 text with a byte order mark, and means UTF-16 when it says Unicode."""
    write_msmt17(root / "MSMT17_V1")
    path = root / "MSMT17_V1" / "list_train.txt"
    lines, before = path.read_text(), load_dataset("MSMT17", cfg).train
    path.write_text(lines, encoding="utf-8-sig")
    assert load_dataset("MSMT17", cfg).train == before
    path.write_text(lines, encoding="utf-16")
    with pytest.raises(InputError, match=r"list_train\.txt': 'utf-8' codec can't decode.*; save it as text in UTF-8$"):
        load_dataset("MSMT17", cfg)


def test_msmt17_without_a_list(root, cfg):
    write_msmt17(root / "MSMT17_V1")
    (root / "MSMT17_V1" / "list_val.txt").unlink()
    with pytest.raises(InputError, match=r"list_val\.txt' not found"):
        load_dataset("MSMT17TrainVal", cfg)


def test_demo_images(root, cfg):
    write_demo_dataset(root, train_identities=4, test_identities=3, distractors=2, junk=2)
    dataset = load_dataset("DemoReID", cfg)
    assert dataset.get_num_pids(dataset.train) == 4
    assert len({pid for _, pid, _ in dataset.query}) == 3
    gallery_pids = {pid for _, pid, _ in dataset.gallery}
    assert 0 in gallery_pids and -1 not in gallery_pids
    assert dataset.train[0][1].startswith("demo_")


def test_demo_images_of_more_people_than_market_has(root, cfg):
    for folder in ("bounding_box_train", "query", "bounding_box_test"):
        (root / "demo-reid" / folder).mkdir(parents=True)
        (root / "demo-reid" / folder / "1502_c1s1_037550_00.jpg").touch()
    assert load_dataset("DemoReID", cfg).query[0][1:] == (1502, 0)
