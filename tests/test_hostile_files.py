"""Files from others: whatever they contain, none runs code, and every error is one line."""

import pickle
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from dcal_reid.data.images import decode_image
from dcal_reid.engine import load_config
from dcal_reid.engine.setup import parse_config
from dcal_reid.errors import InputError
from dcal_reid.evaluation import FaissGallery, FeatureSet, Records
from dcal_reid.files import read_tensors

PACKAGE = Path(__file__).parents[1] / "dcal_reid"
once_each = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Payload:
    """What a hostile pickle holds."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "model.safetensors", "features.npz"])
@pytest.mark.parametrize("inside", ["alone", "among tensors", "numpy"])
def test_no_pickle_runs(tmp_path, name, inside):
    witness, path = tmp_path / "it ran", tmp_path / name
    if inside == "alone":
        path.write_bytes(pickle.dumps(Payload(witness)))
    elif inside == "among tensors":
        torch.save({"model": {"w": torch.ones(2)}, "extra": Payload(witness)}, path)
    else:
        with open(path, "wb") as file:
            np.savez(file, features=np.array([Payload(witness)], dtype=object), version=1)
    with pytest.raises(InputError) as error:
        FeatureSet.load(path) if name.endswith("npz") else read_tensors(path)
    assert "\n" not in str(error.value) and name in str(error.value)
    assert not witness.exists()


@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system ['touch it_ran']", "!!python/name:os.system ''"])
def test_no_yaml_makes_objects(tmp_path, tag, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = f"OUTPUT_DIR: {tag}\n"
    Path("config.yml").write_text(text)
    for read in (lambda: load_config("config.yml"), lambda: parse_config(text, "config.yml")):
        with pytest.raises(InputError, match=r"config\.yml is not valid YAML"):
            read()
    assert not Path("it_ran").exists()


@given(
    text=st.text()
    | st.recursive(st.none() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)).map(
        repr
    )
)
@once_each
def test_any_text_is_a_configuration_or_one_line(text):
    try:
        parse_config(text, "config.yml")
    except InputError as error:
        assert "\n" not in str(error)


@given(key=st.text(max_size=30), value=st.text(max_size=30))
@once_each
def test_any_override_is_taken_or_one_line(key, value):
    try:
        load_config("", [key, value])
    except InputError as error:
        assert "\n" not in str(error)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "model.pth"
    torch.save({"model": {"w": torch.arange(40.0)}, "place": {"epochs": 1}}, path)
    return path


@given(place=st.floats(0, 1), what=st.binary(min_size=1, max_size=20), cut=st.booleans())
@once_each
def test_any_damage_to_a_checkpoint_is_one_line(checkpoint, tmp_path, place, what, cut):
    content = bytearray(checkpoint.read_bytes())
    start = int(place * len(content))
    content[start : start + len(what)] = b"" if cut else what
    damaged = tmp_path / "damaged.pth"
    damaged.write_bytes(content[:start] if cut else content)
    try:
        read_tensors(damaged)
    except InputError as error:
        assert "\n" not in str(error) and "damaged.pth" in str(error)


@given(place=st.floats(0, 1), what=st.binary(min_size=1, max_size=8))
@once_each
def test_any_damage_to_the_tables_of_a_gallery_is_one_line(tmp_path_factory, place, what):
    """All files except the index itself, which faiss reads."""
    folder = tmp_path_factory.mktemp("gallery")
    features = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    FaissGallery.build(features, Records([f"{number}.jpg" for number in range(5)], [-1] * 5, [-1] * 5)).save(folder)
    for path in sorted(folder.iterdir()):
        if path.suffix == ".faiss":
            continue
        whole = path.read_bytes()
        content = bytearray(whole)
        start = int(place * len(content))
        content[start : start + len(what)] = what
        path.write_bytes(content)
        try:
            gallery = FaissGallery.open(folder)
            gallery.records(gallery.search(features, 2).ids[0])
        except InputError as error:
            assert "\n" not in str(error)
        path.write_bytes(whole)


def test_a_picture_that_unpacks_to_a_giant_is_refused():
    """20,000 x 20,000 pixels in a few hundred kilobytes."""
    import io

    buffer = io.BytesIO()
    Image.new("1", (20000, 20000)).save(buffer, "png")
    assert buffer.tell() < 1e6
    with pytest.raises(InputError, match=r"'giant\.png' cannot be decoded: .*pixels"):
        decode_image(buffer.getvalue(), "giant.png")


def test_an_archive_that_is_no_checkpoint(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))
        archive.writestr("../outside", "x")
    with pytest.raises(InputError, match=r"a\.pth"):
        read_tensors(tmp_path / "a.pth")
    assert not (tmp_path.parent / "outside").exists()


def test_nothing_starts_a_shell_or_unpickles():
    pattern = re.compile(
        r"shell=True|os\.system|os\.popen|(?<![.\w])(eval|exec)\(|pickle\.load|unsafe_load|yaml\.load\(|allow_pickle=True|weights_only=False"
    )
    found = [
        f"{path}: {line}"
        for path in PACKAGE.rglob("*.py")
        for line in path.read_text().splitlines()
        if pattern.search(line)
    ]
    assert found == []
