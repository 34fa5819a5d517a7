import json

import pytest

from dcal_reid.errors import InputError
from dcal_reid.evaluation.gallery_folder import (
    generation_of,
    remove_other_generations,
    resolved_folder,
    write_generation,
)


def save(folder, content=""):
    def write(generation):
        for name in ("ids", "vectors"):
            (folder / f"{name}-{generation}.npy").write_text(content)

    generation = write_generation(folder, write, {"version": 1, "content": content})
    remove_other_generations(folder, generation)
    return generation


def contents(folder):
    generation = generation_of(folder)
    return [(folder / f"{name}-{generation}.npy").read_text() for name in ("ids", "vectors")]


def test_each_save_is_the_next_generation(tmp_path):
    assert generation_of(tmp_path) == -1
    first = save(tmp_path, "one")
    assert generation_of(tmp_path) == first and contents(tmp_path) == ["one"] * 2
    assert save(tmp_path, "two") == generation_of(tmp_path) == first + 1
    assert contents(tmp_path) == ["two"] * 2 and len(list(tmp_path.iterdir())) == 3
    told = {"version": 1, "content": "two", "generation": first + 1}
    assert json.loads((tmp_path / "gallery.json").read_text()) == told


def test_a_folder_that_is_made_again_has_another_generation(tmp_path):
    generations = set()
    for name in "abc":
        (tmp_path / name).mkdir()
        generations.add(save(tmp_path / name))
    assert len(generations) == 3


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_save_that_fails_leaves_what_was_there(tmp_path, error):
    save(tmp_path, "one")
    before = sorted(tmp_path.iterdir())

    def fails(generation):
        (tmp_path / f"ids-{generation}.npy").write_text("two")
        raise error("disk full")

    with pytest.raises(error, match="disk full"):
        write_generation(tmp_path, fails, {})
    assert sorted(tmp_path.iterdir()) == before and contents(tmp_path) == ["one"] * 2


@pytest.mark.parametrize("damage", ["", "[]", "{}", '{"generation": "x"}', '{"generation": 1e999}'])
def test_a_damaged_folder_goes_on_where_its_files_end(tmp_path, damage):
    generation = save(tmp_path)
    (tmp_path / "gallery.json").write_text(damage)
    assert generation_of(tmp_path) == generation
    assert save(tmp_path) == generation + 1


def test_saving_removes_what_a_killed_process_left_and_nothing_else(tmp_path):
    save(tmp_path)
    expected = len(list(tmp_path.iterdir()))
    for name in ("ids-7.npy", "vectors-7.faiss", ".gallery.json.99.tmp", "frame-0.jpg", "frame-1.jpg", "notes-0.npy"):
        (tmp_path / name).write_bytes(b"")
    save(tmp_path)
    save(tmp_path)
    assert {"frame-0.jpg", "frame-1.jpg", "notes-0.npy"} <= {file.name for file in tmp_path.iterdir()}
    assert len(list(tmp_path.iterdir())) == expected + 3


def test_a_folder_whose_name_is_not_utf8(tmp_path):
    with pytest.raises(InputError, match=r"path of a gallery holds UTF-8 only, which '.*udcff' is not; rename the"):
        resolved_folder(f"{tmp_path}/\udcff")
    (tmp_path / "gallery").mkdir()
    (tmp_path / "link").symlink_to("gallery")
    assert resolved_folder(str(tmp_path / "link")) == (tmp_path / "gallery").resolve()
