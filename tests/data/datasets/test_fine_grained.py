"""CUB-200-2011, Stanford Cars and FGVC-Aircraft, written in their official formats."""

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from dcal_reid.data import load_dataset
from dcal_reid.data.datasets import CUB200
from dcal_reid.errors import InputError

ALBATROSS, ANI = "001.Black_footed_Albatross", "002.Groove_billed_Ani"
CUB_FILES = {
    "classes.txt": [f"1 {ALBATROSS}", f"2 {ANI}"],
    "images.txt": [f"1 {ALBATROSS}/a.jpg", f"2 {ALBATROSS}/b.jpg", f"3 {ANI}/a.jpg", f"4 {ANI}/b.jpg"],
    "image_class_labels.txt": ["1 1", "2 1", "3 2", "4 2"],
    "train_test_split.txt": ["1 0", "2 1", "3 1", "4 0"],
}
CARS = ["AM General Hummer SUV 2000", "Ram C/V Cargo Van Minivan 2012"]


def write_cub(root, **changes):
    """``changes``: other lines for a file, by its name without ending."""
    home = root / "CUB_200_2011"
    for line in CUB_FILES["images.txt"]:
        path = home / "images" / line.split()[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    for name, lines in CUB_FILES.items():
        (home / name).write_text("\n".join(changes.get(name[:-4], lines)) + "\n", encoding="utf-8")
    return home


def write_cars(root, train=(1, 2), test=(2,), names=CARS):
    """``train`` and ``test``: the class of each image, counted from 1."""
    home = root / "stanford_cars"
    (home / "devkit").mkdir(parents=True, exist_ok=True)
    savemat(home / "devkit" / "cars_meta.mat", {"class_names": np.array(names, dtype=object)[None]})
    parts = (("cars_train", train, "devkit/cars_train_annos"), ("cars_test", test, "cars_test_annos_withlabels"))
    for folder, classes, annotations in parts:
        (home / folder).mkdir(exist_ok=True)
        rows = [(np.uint8(39), np.uint8(number), f"{i:05d}.jpg") for i, number in enumerate(classes, 1)]
        rows += [(np.uint8(1), np.uint8(1), "99999.jpg")]  # Matlab writes a single row differently
        for _, _, name in rows:
            (home / folder / name).touch()
        table = np.array([rows], dtype=[("bbox_x1", object), ("class", object), ("fname", object)])
        savemat(home / f"{annotations}.mat", {"annotations": table})
    return home


def write_aircraft(root):
    data = root / "fgvc-aircraft-2013b" / "data"
    (data / "images").mkdir(parents=True)
    for number in (34309, 34958, 1514522, 2229436):
        (data / "images" / f"{number:07d}.jpg").touch()
    (data / "variants.txt").write_text("707-320\nF/A-18\n")
    (data / "images_variant_trainval.txt").write_text("0034309 707-320\n0034958 F/A-18\n")
    (data / "images_variant_test.txt").write_text("1514522 F/A-18\n2229436 707-320\n")
    return data


def test_cub(root, cfg):
    images = write_cub(root) / "images"
    dataset = load_dataset("CUB200", cfg)
    assert dataset.class_names == ["Black footed Albatross", "Groove billed Ani"]
    assert dataset.train == [(f"{images}/{ALBATROSS}/b.jpg", 0, 0), (f"{images}/{ANI}/a.jpg", 1, 0)]
    assert dataset.test == [(f"{images}/{ALBATROSS}/a.jpg", 0, 0), (f"{images}/{ANI}/b.jpg", 1, 0)]


def test_cub_with_some_of_the_classes_and_files_of_windows(root, cfg, caplog):
    """Class numbers with gaps, a byte order mark, carriage returns, empty lines."""
    labels = ["1 7", "2 7", "3 120", "4 120"]
    home = write_cub(root, classes=[f"120 {ANI}", f"7 {ALBATROSS}"], image_class_labels=labels)
    for name in CUB_FILES:
        lines = (home / name).read_text().splitlines()
        (home / name).write_bytes("\r\n".join([*lines, "", ""]).encode("utf-8-sig"))
    with caplog.at_level(logging.WARNING, logger="dcal_reid"):
        dataset = load_dataset("CUB200", cfg)
    assert "folder" not in caplog.text
    assert dataset.class_names == ["Black footed Albatross", "Groove billed Ani"]
    assert [label for _, label, _ in dataset.train] == [0, 1]
    assert "has 2 classes here, officially 200" in caplog.text


@pytest.mark.parametrize(
    ("name", "lines", "message"),
    [
        ("image_class_labels", ["1 1", "2 1", "3 2"], r"images\.txt' line 4: image 4 is not in '.*class_labels\.txt'"),
        ("images", [f"1 {ALBATROSS}/a.jpg"], r"class_labels\.txt' line 2: image 2 is not in .* \(in all 3 images"),
        (
            "train_test_split",
            ["1 0", "3 1", "4 0", "2 1", "5 1"],
            r"split\.txt' line 5: image 5 is not in .*images\.txt",
        ),
        ("train_test_split", ["1 0", "2 1", "2 1"], r"line 3: number 2 is already in line 2"),
        ("train_test_split", ["1 0", "2 2"], r"line 2: '2 2' is not of the form <image> <1 for train, 0 for test>"),
        ("image_class_labels", ["1 1", "2 1", "3 3", "4 2"], r"labels\.txt' line 3: class 3 is not in .*classes\.txt"),
        ("image_class_labels", ["1 1", "2 1", "3 0", "4 2"], r"labels\.txt' line 3: class 0 is not in .*classes\.txt"),
        ("image_class_labels", ["1 1", "2"], r"line 2: '2' is not of the form <image> <class>"),
        ("image_class_labels", ["1 1", "2 1 1"], r"line 2: '2 1 1' is not"),
        ("image_class_labels", ["1 1", "2 " + "1" * 5000], r"line 2: '2 1+' is not of the form"),
        ("classes", ["1 " + ALBATROSS, ANI], rf"classes\.txt' line 2: '{ANI}' is not of the form <class> <name>"),
        ("classes", ["1 " + ALBATROSS], r"labels\.txt' line 3: class 2 is not in .*classes\.txt"),
        ("classes", [f"1 {ALBATROSS}", f"2 {ANI}", "3 Wren"], "no training image for 1 of 3 classes: 'Wren'"),
        (
            "images",
            ["1 ../a.jpg", *CUB_FILES["images.txt"][1:]],
            r"line 1: path '\.\./a\.jpg' is outside the folder images",
        ),
        ("images", ["1 /a.jpg", *CUB_FILES["images.txt"][1:]], r"line 1: path '/a\.jpg' is outside"),
        ("images", [f"1 {ALBATROSS}", *CUB_FILES["images.txt"][1:]], rf"line 1: '{ALBATROSS}' is not an image file"),
        ("images", [f"1 {ALBATROSS}/c.jpg", *CUB_FILES["images.txt"][1:]], r"do not exist: .*c\.jpg"),
        ("images", [f"1 {ANI}/a.jpg", *CUB_FILES["images.txt"][1:]], r"a\.jpg' in train as .*Ani.* and in test as"),
        ("images", [], r"class_labels\.txt' line 1: image 1 is not in .*images\.txt"),
    ],
)
def test_damaged_cub_files_are_refused_with_the_line(root, cfg, name, lines, message):
    write_cub(root, **{name: lines})
    with pytest.raises(InputError, match=message) as caught:
        load_dataset("CUB200", cfg)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_labels_that_are_shifted_are_a_warning(root, cfg, caplog):
    write_cub(root, image_class_labels=["1 2", "2 1", "3 2", "4 1"])
    with caplog.at_level(logging.WARNING, logger="dcal_reid"):
        load_dataset("CUB200", cfg)
    [message] = [message for message in caplog.messages if "folder" in message]
    assert f"labels.txt' line 1: image 1 is of class {ANI}, its folder has another name (in all 2 images)" in message


def test_missing_and_misencoded_cub_files(root, cfg):
    with pytest.raises(InputError, match=rf"CUB200: '{root}/CUB_200_2011' not found; .*README\.md"):
        load_dataset("CUB200", cfg)
    classes = write_cub(root) / "classes.txt"
    classes.write_bytes(f"1 {ALBATROSS}\n2 Bläßhuhn\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"classes\.txt' line 2 is not in UTF-8"):
        load_dataset("CUB200", cfg)
    classes.unlink()
    with pytest.raises(InputError, match=r"classes\.txt' cannot be read: No such file"):
        load_dataset("CUB200", cfg)


@pytest.fixture(scope="module")
def cub_root(tmp_path_factory):
    root = tmp_path_factory.mktemp("datasets")
    write_cub(root)
    return root


garbled = st.one_of(
    st.text(max_size=30).map(lambda text: text.encode("utf-8")),
    st.binary(max_size=12),
    st.sampled_from([b"1 1", b"2 0", b"3 ..", b"4 \0.jpg", b"1 ./x/../.jpg", "٣ 1".encode(), b"2 001." + b"a" * 300]),
)


@settings(max_examples=300, derandomize=True)
@given(
    name=st.sampled_from(sorted(CUB_FILES)),
    mutations=st.lists(
        st.tuples(st.sampled_from(["drop", "duplicate", "garble"]), st.integers(0, 9), st.integers(0, 40), garbled),
        min_size=1,
        max_size=3,
    ),
)
def test_any_mutation_loads_or_is_an_input_error(cub_root, name, mutations):
    """A line is dropped, doubled, or cut at a place and continued with rubbish."""
    lines = [line.encode() for line in CUB_FILES[name]]
    for kind, place, cut, rubbish in mutations:
        at = place % max(len(lines), 1)
        if kind == "drop":
            del lines[at : at + 1]
        elif kind == "duplicate":
            lines[at:at] = lines[at : at + 1]
        else:
            lines[at : at + 1] = [b"".join(lines[at : at + 1])[:cut] + rubbish]
    path = cub_root / "CUB_200_2011" / name
    original = path.read_bytes()
    path.write_bytes(b"\n".join(lines))
    try:
        dataset = CUB200(str(cub_root))
        assert len(dataset.train) + len(dataset.test) == 4 and len(dataset.class_names) == 2
    except InputError as error:
        assert str(error).isprintable() or "do not exist" in str(error)
    finally:
        path.write_bytes(original)


def test_real_birds(cfg, root):
    """A subset of CUB-200-2011 with 100 classes, compared with what numpy reads."""
    shared = Path(__file__).parents[3] / ".." / "shared" / "data" / "birds"
    if not (shared / "images.txt").is_file():
        pytest.skip(f"the birds data are not in {shared}")
    (root / "CUB_200_2011").symlink_to(shared.resolve())
    dataset = load_dataset("CUB200", cfg)
    assert len(dataset.train) == 2999 and len(dataset.test) == 2903
    labels = np.loadtxt(shared / "image_class_labels.txt", dtype=int)[:, 1] - 1
    is_train = np.loadtxt(shared / "train_test_split.txt", dtype=int)[:, 1] == 1
    assert [label for _, label, _ in dataset.train] == labels[is_train].tolist()
    assert [label for _, label, _ in dataset.test] == labels[~is_train].tolist()
    for path, label, _ in dataset.train + dataset.test:
        assert Path(path).parent.name[4:].replace("_", " ") == dataset.class_names[label]


def test_cars(root, cfg):
    home = write_cars(root)
    dataset = load_dataset("StanfordCars", cfg)
    assert dataset.class_names == CARS
    names = [(f"{home}/cars_train/{name}.jpg", label, 0) for name, label in (("00001", 0), ("00002", 1), ("99999", 0))]
    assert dataset.train == names
    assert dataset.test == [(f"{home}/cars_test/00001.jpg", 1, 0), (f"{home}/cars_test/99999.jpg", 0, 0)]
    assert all(type(label) is int for _, label, _ in dataset.train)


def test_damaged_cars_are_refused(root, cfg):
    with pytest.raises(InputError, match=rf"StanfordCars: '{root}/stanford_cars' not found"):
        load_dataset("StanfordCars", cfg)
    write_cars(root, train=(1, 2, 3))
    with pytest.raises(InputError, match=r"00003\.jpg' the label 2, but has the classes 0 to 1"):
        load_dataset("StanfordCars", cfg)
    labels = write_cars(root) / "cars_test_annos_withlabels.mat"
    content = labels.read_bytes()
    for length in range(0, len(content) - 8, 40):  # the last bytes are padding
        labels.write_bytes(content[:length])
        with pytest.raises(InputError, match=r"StanfordCars: torchvision cannot read '.*stanford_cars' .*README\.md"):
            load_dataset("StanfordCars", cfg)
    labels.unlink()
    with pytest.raises(InputError, match=r"torchvision cannot read .*RuntimeError: Dataset not found"):
        load_dataset("StanfordCars", cfg)


@pytest.mark.parametrize(
    ("moved", "to", "message"),
    [
        ("cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat", "cars_test_annos_withlabels.mat"),
        ("cars_train", "train", "cars_train"),
        ("devkit", "car_devkit", "devkit/cars_train_annos.mat"),
    ],
)
def test_what_is_missing_of_cars_is_named(root, cfg, moved, to, message):
    home = write_cars(root)
    (home / moved).rename(home / to)
    with pytest.raises(InputError, match=rf"Dataset not found.*; there is no {message} in it; compare it with the lay"):
        load_dataset("StanfordCars", cfg)


def test_aircraft(root, cfg):
    images = write_aircraft(root) / "images"
    dataset = load_dataset("FGVCAircraft", cfg)
    assert dataset.class_names == ["707-320", "F/A-18"] and dataset.banner == 20
    assert dataset.train == [(f"{images}/0034309.jpg", 0, 0), (f"{images}/0034958.jpg", 1, 0)]
    assert dataset.test == [(f"{images}/1514522.jpg", 1, 0), (f"{images}/2229436.jpg", 0, 0)]


@pytest.mark.parametrize("file", ["variants.txt", "images_variant_trainval.txt", "images_variant_test.txt"])
def test_empty_lines_of_aircraft_files_are_nothing(root, cfg, file):
    path = write_aircraft(root) / file
    expected = load_dataset("FGVCAircraft", cfg)
    path.write_text("\n" + path.read_text().replace("\n", "\n\n") + " \n")
    dataset = load_dataset("FGVCAircraft", cfg)
    assert (dataset.class_names, dataset.train, dataset.test) == (expected.class_names, expected.train, expected.test)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("images_variant_test.txt", "1514522 F/A-1", r"variant_test\.txt' line 1: 'F/A-1' is not in '.*variants\.txt'"),
        ("images_variant_test.txt", "1514522", r"test\.txt' line 1: '1514522' is not of the form <image> <variant>"),
        ("images_variant_test.txt", "", "has no test images"),
        ("variants.txt", "707-320\n", r"images_variant_trainval\.txt' line 2: 'F/A-18' is not in '.*variants\.txt'"),
        ("variants.txt", None, r"FGVCAircraft: .*No such file or directory: '.*variants\.txt'"),
        ("variants.txt", "707-320\nF/A-18\n727-200\n", "no training image for 1 of 3 classes: '727-200'"),
        ("images_variant_trainval.txt", "0034309 707-320\n003495 F/A-18\n", r"do not exist: .*003495\.jpg"),
        ("images_variant_trainval.txt", None, r"images_variant_trainval\.txt' cannot be read: No such file"),
    ],
)
def test_damaged_aircraft_files_are_refused(root, cfg, file, content, message):
    path = write_aircraft(root) / file
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        load_dataset("FGVCAircraft", cfg)
    assert "\n" not in str(caught.value)
