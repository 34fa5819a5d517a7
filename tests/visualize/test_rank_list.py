import math
from dataclasses import replace

import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from dcal_reid.errors import InputError
from dcal_reid.visualize.rank_list import QUERY, RIGHT, WRONG, RankRow, draw_rank_lists


@pytest.fixture
def crops(tmp_path):
    """Six images of different sizes and modes."""
    paths = []
    for number, mode in enumerate(["RGB", "L", "RGBA", "RGB", "P", "RGB"]):
        path = tmp_path / f"crop{number}.png"
        Image.new(mode, (30 + 10 * number, 90), number).save(path)
        paths.append(path)
    return paths


@pytest.fixture
def rank_list(crops):
    return RankRow(
        query=crops[0],
        pid=17,
        average_precision=0.8125,
        gallery=crops[1:5],
        distances=np.array([0.1, 0.25, 0.5, 1.25]),
        matches=np.array([True, False, True, False]),
        camid=1,
        camids=np.array([2, 3, 4, 2]),
    )


def images(figure):
    return [axes for axes in figure.axes if axes.images]


def frame(axes):
    return {to_hex(spine.get_edgecolor()) for spine in axes.spines.values()}


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_frames_tell_query_right_and_wrong_apart(tmp_path, drawn, rank_list):
    draw_rank_lists(tmp_path / "rank.png", [rank_list])
    (figure,) = drawn
    assert [frame(axes) for axes in images(figure)] == [{QUERY}, {RIGHT}, {WRONG}, {RIGHT}, {WRONG}]


def test_captions_and_title_say_what_is_shown(tmp_path, drawn, rank_list):
    draw_rank_lists(tmp_path / "rank.png", [rank_list])
    assert [axes.get_xlabel() for axes in images(drawn[0])] == [
        "query\ncamera 1",
        "✓ 0.100\ncamera 2",
        "✗ 0.250\ncamera 3",
        "✓ 0.500\ncamera 4",
        "✗ 1.250\ncamera 2",
    ]
    assert texts(drawn[0]) == ["identity 17  ·  AP 81.2 %"]


def test_unknown_cameras_are_not_mentioned_and_named_ones_are_shown_by_name(tmp_path, drawn, crops):
    parts = {"pid": "car_7", "average_precision": 1.0, "gallery": crops[:1], "distances": [0.0], "matches": [True]}
    draw_rank_lists(tmp_path / "unknown.png", [RankRow(crops[1], **parts)])
    draw_rank_lists(tmp_path / "named.png", [RankRow(crops[1], **parts, camid="gate", camids=["yard"])])
    unknown, named = ([axes.get_xlabel() for axes in images(figure)] for figure in drawn)
    assert unknown == ["query", "✓ 0.000"]
    assert named == ["query\ngate", "✓ 0.000\nyard"]


def test_a_query_without_a_match_in_the_gallery_says_so(tmp_path, drawn, crops):
    draw_rank_lists(tmp_path / "rank.png", [RankRow(crops[0], 3, math.nan, crops[1:2], [0.5], [False])])
    assert texts(drawn[0]) == ["identity 3  ·  no match in the gallery"]


def test_images_have_the_shape_that_the_model_sees_and_a_resolution_for_people(tmp_path, drawn, rank_list):
    draw_rank_lists(tmp_path / "rank.png", [rank_list], size=(32, 16))
    assert {axes.images[0].get_array().shape for axes in images(drawn[0])} == {(300, 150, 3)}


@pytest.mark.parametrize("size", [(256, 128), (256, 256), (96, 192)])
def test_picture_is_legible(tmp_path, drawn, assert_legible, rank_list, crops, size):
    shorter = RankRow(crops[0], "bus_0002", 0.05, crops[1:2], [28.125], [False], "north gate", ["south gate"])
    draw_rank_lists(tmp_path / "rank.png", [rank_list, shorter, rank_list], size=size)
    assert_legible(drawn[0])
    with Image.open(tmp_path / "rank.png") as picture:
        assert picture.width > 500 and picture.height > 300


def test_a_single_pair_is_legible_too(tmp_path, drawn, assert_legible, crops):
    draw_rank_lists(tmp_path / "rank.png", [RankRow(crops[0], 1, 0.5, crops[1:2], [0.1], [True], 1, [2])])
    assert_legible(drawn[0])


def test_parts_of_different_lengths_are_our_fault_and_not_the_users(tmp_path, crops):
    for parts in (([0.1], [True, False]), ([0.1, 0.2], [True]), ([0.1, 0.2], [True, False], 1, [2])):
        with pytest.raises(ValueError, match="is shorter than"):
            draw_rank_lists(tmp_path / "rank.png", [RankRow(crops[0], 1, 0.5, crops[:2], *parts)])
    assert not (tmp_path / "rank.png").exists()


def test_nothing_to_draw_is_refused(tmp_path):
    with pytest.raises(InputError, match="no rank list"):
        draw_rank_lists(tmp_path / "rank.png", [])


def test_a_broken_image_is_named(tmp_path, crops):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"not an image")
    with pytest.raises(InputError, match=r"broken\.jpg"):
        draw_rank_lists(tmp_path / "rank.png", [RankRow(crops[0], 1, 0.5, [broken], [0.1], [True])])
    assert not (tmp_path / "rank.png").exists()


def test_a_first_match_further_down_is_told(tmp_path, drawn, rank_list):
    later, shown = replace(rank_list, first_rank=30), replace(rank_list, first_rank=1)
    draw_rank_lists(tmp_path / "rank.png", [later, shown], note="a note")
    assert texts(drawn[0]) == [
        "a note", "identity 17  ·  AP 81.2 %  ·  first match at rank 30", "identity 17  ·  AP 81.2 %"
    ]  # fmt: skip


def test_images_may_be_pixels(tmp_path, drawn, rank_list):
    red = np.zeros((40, 20, 3), dtype=np.uint8)
    red[..., 0] = 200
    draw_rank_lists(tmp_path / "rank.png", [replace(rank_list, query=red)])
    query, *_ = images(drawn[0])
    assert (query.images[0].get_array() == (200, 0, 0)).all()


def test_a_dollar_begins_no_formula(tmp_path, drawn, rank_list):
    named = replace(rank_list, pid="$5_to_$10", camids=["$a_$b"] * 4)
    draw_rank_lists(tmp_path / "rank.png", [named], note="$c_$d")
    assert texts(drawn[0]) == ["$c_$d", "identity $5_to_$10  ·  AP 81.2 %"]
