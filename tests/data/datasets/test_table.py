"""What CSVReID and FolderReID share: numbering, protocol without cameras, checks of the table."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dcal_reid import get_cfg
from dcal_reid.data.datasets.table import Row, TableReID
from dcal_reid.errors import InputError
from dcal_reid.text import natural_key


class Table(TableReID):
    dataset_name = "table"


def table(rows, **keys):
    settings = get_cfg().DATASETS.CSV
    for key, value in keys.items():
        settings[key] = value
    rows = [Row(*row, where=f"line {number}") for number, row in enumerate(rows, 2)]
    return Table(rows, "the table", settings, "DATASETS.CSV")


@pytest.fixture
def images(tmp_path):
    """Paths of files that exist."""
    paths = [tmp_path / f"{number}.jpg" for number in range(8)]
    for path in paths:
        path.touch()
    return [str(path) for path in paths]


@pytest.fixture
def rows(images):
    return [
        (images[0], "dog 10", "north", "train"),
        (images[1], "dog 2", "south", "train"),
        (images[2], "cat", "c10", "query"),
        (images[3], "cat", "c2", "gallery"),
    ]


def test_identities_and_cameras_are_numbered_in_natural_order(rows, images):
    dataset = table(rows)
    assert dataset.identity_names == ["cat", "dog 2", "dog 10"]
    assert dataset.camera_names == ["c2", "c10", "north", "south"]
    assert dataset.train == [(images[0], "table_2", "table_2"), (images[1], "table_1", "table_3")]
    assert dataset.query == [(images[2], 0, 1)] and dataset.gallery == [(images[3], 0, 0)]


@given(st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=12))
def test_any_text_may_be_an_identity(names):
    dataset = table([(f"{i}.jpg", name, None, "train") for i, name in enumerate(names)])
    assert dataset.identity_names == sorted(set(names), key=natural_key)


def test_without_cameras_every_image_has_its_own(rows, images, caplog):
    """The standard protocol then removes the query image from its gallery, and nothing else."""
    rows = [(path, identity, None, split) for path, identity, _, split in rows]
    rows += [(images[2], "cat", None, "gallery"), (images[4], "cat", None, "gallery")]
    with caplog.at_level(logging.INFO, logger="dcal_reid"):
        dataset = table(rows)
    assert "the table has no cameras: only the query image itself is removed from a query's gallery" in caplog.text
    [(_, pid, camid)] = dataset.query
    kept = [path for path, p, c in dataset.gallery if (p, c) != (pid, camid)]
    assert kept == [images[3], images[4]]


def test_cameras_choose_among_a_split(rows, images):
    rows += [(images[4], "cat", "c2", "query"), (images[5], "cat", "c10", "gallery")]
    dataset = table(rows, QUERY_CAMERAS=("c2",), GALLERY_CAMERAS=("c10",))
    assert [item[0] for item in dataset.query] == [images[4]]
    assert [item[0] for item in dataset.gallery] == [images[5]]


def test_numbers_in_the_config_are_texts_in_the_table(images):
    dataset = table([(images[0], "a", "1", "0"), (images[1], "a", "2", "0")], QUERY_SPLITS=(0,), QUERY_CAMERAS=(2,))
    assert [item[0] for item in dataset.query] == [images[1]]


def test_an_image_in_two_chosen_splits_counts_once(images):
    dataset = table([(images[0], "a", "1", "val"), (images[0], "a", "1", "test")], QUERY_SPLITS=("val", "test"))
    assert len(dataset.query) == 1


def test_a_table_without_queries_can_be_trained_on(rows):
    dataset = table(rows[:2])
    assert len(dataset.train) == 2
    with pytest.raises(InputError, match=r"QUERY_SPLITS asks for 'query', which the table does not have.*'train'"):
        dataset.query  # noqa: B018


def test_unknown_splits_and_cameras_are_named_beside_the_known(rows):
    with pytest.raises(InputError, match=r"TRAIN_SPLITS asks for 'trian', .*'gallery', 'query', 'train'"):
        table(rows, TRAIN_SPLITS=("train", "trian")).train  # noqa: B018
    with pytest.raises(InputError, match=r"QUERY_CAMERAS asks for 'c3', .*'c10'"):
        table(rows, QUERY_CAMERAS=("c3",)).query  # noqa: B018
    # c2 is a camera of the table, but no query is from it.
    with pytest.raises(InputError, match=r"asks for 'c2', .* among the images of QUERY_SPLITS \('query',\); .*'c10'"):
        table(rows, QUERY_CAMERAS=("c2",)).query  # noqa: B018
    with pytest.raises(InputError, match=r"QUERY_CAMERAS is \('c1',\), but the table has no cameras"):
        table([(*row[:2], None, row[3]) for row in rows], QUERY_CAMERAS=("c1",)).query  # noqa: B018


def test_missing_files_are_counted_when_their_list_is_used(rows):
    rows += [("/nowhere/1.jpg", "dog 2", "north", "train")]
    dataset = table(rows)
    assert dataset.query
    with pytest.raises(InputError, match=r"the table lists 1 images that do not exist: /nowhere/1\.jpg"):
        dataset.train  # noqa: B018


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "the table holds no images"),
        (
            [("a", "1", "c", "train"), ("a", "2", "c", "query")],
            r"gives 'a' the identity '1' \(line 2\) and '2' \(line 3\)",
        ),
        ([("a", "1", "c", "train"), ("a", "1", "d", "query")], r"gives 'a' the camera 'c' \(line 2\)"),
        ([("a", "1", "c", "train"), ("a", "1", "c", "train")], "lists 'a' twice in 'train': line 2, line 3"),
        ([("a", "1", "c", "train"), ("b", "1", None, "train")], "no camera for 1 of 2 images, the first at line 3"),
    ],
)
def test_contradictions_are_refused(rows, message):
    with pytest.raises(InputError, match=message):
        table(rows)


def test_a_file_is_itself_however_it_is_spelt(rows, images, tmp_path, monkeypatch):
    """Otherwise a query without a camera would find itself."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    other = [(images[0], "dog", None, "train"), ("2.jpg", "cat", None, "query"), ("link/2.jpg", "cat", None, "gallery")]
    dataset = table(other)
    assert dataset.query == [("2.jpg", 0, dataset.gallery[0][2])]
    with pytest.raises(InputError, match=r"the identity 'cat' \(line 3\) and 'cow' \(line 4\)"):
        table([*other[:2], (images[2], "cow", None, "gallery")])
    with pytest.raises(InputError, match=r"lists '.*2\.jpg' twice in 'query': line 3, line 4"):
        table([*other[:2], (images[2], "cat", None, "query")])
