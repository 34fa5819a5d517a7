import numpy as np
import pytest
from fastreid.modeling.meta_arch import build_model
from PIL import Image

from dcal_reid import Predictor
from dcal_reid.errors import InputError
from dcal_reid.visualize.attention_grid import draw_attention_of, image_files, show_attention


@pytest.fixture
def predictor(run_folder):
    return Predictor(run_folder / "model_final.pth")


def rows(figure):
    return [axes.get_ylabel() for axes in figure.axes if axes.images and axes.get_ylabel()]


def test_a_folder_gives_so_many_images_and_files_give_all(tmp_path):
    for folder, number in (("a", 7), ("a/below", 3)):
        (tmp_path / folder).mkdir()
        for i in range(number):
            (tmp_path / folder / f"{i}.PNG").touch()
    (tmp_path / "a" / "labels.csv").touch()
    assert len(image_files([str(tmp_path)], 99)) == 10
    some = image_files([str(tmp_path), str(tmp_path / "a" / "5.PNG")], 3)
    assert len(some) == 4 and some[-1].endswith("5.PNG")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image in or below the folder"):
        image_files([str(tmp_path / "empty")], 3)
    with pytest.raises(InputError, match=r"'none\.png' not found"):
        image_files(["none.png"], 3)


@pytest.mark.parametrize(("split", "count", "images"), [("query", 2, 2), ("gallery", 20, 12), ("train", 3, 3)])
def test_a_split_of_a_dataset(predictor, tmp_path, drawn, split, count, images):
    show_attention(predictor, tmp_path / "look.png", dataset="CSVReID", split=split, count=count)
    names = rows(drawn[0])
    assert len(names) == len(set(names)) == images
    assert [axes.get_title().split("\n")[0] for axes in drawn[0].axes[:4]] == [
        "input", "SA rollout", "GLCA rollout", "selected patches"
    ]  # fmt: skip


def test_more_images_than_are_computed_together(predictor, crops, tmp_path, drawn):
    """Batches only change how much memory is needed."""
    paths = sorted(map(str, crops.glob("*.png")))[:10]
    show_attention(predictor, tmp_path / "look.png", images=paths)
    peaks = [axes.get_xlabel() for axes in drawn[0].axes if axes.get_xlabel()]
    maps = [predictor.attention([path]).sa[0] for path in paths]
    expected = [f"maximum {float(m.max() / m.mean()):.1f} x mean" for m in maps]
    assert peaks[::2] == expected


@pytest.mark.parametrize("num_blocks", [1, 0])
def test_with_and_without_glca(tiny_cfg, crops, tmp_path, num_blocks):
    tiny_cfg.MODEL.DCAL.GLCA.NUM_BLOCKS = num_blocks
    predictor = Predictor.of(tiny_cfg, build_model(tiny_cfg).eval())
    draw_attention_of(tmp_path / "attention.png", predictor, sorted(map(str, crops.glob("*.png")))[:2])
    with Image.open(tmp_path / "attention.png") as picture:
        assert min(picture.size) > 100 and len(picture.getcolors(2**20) or range(1000)) > 100


def test_a_long_name_is_cut(predictor, tmp_path, drawn):
    path = tmp_path / f"{'a' * 40}_end.png"
    Image.fromarray(np.zeros((20, 20, 3), dtype=np.uint8)).save(path)
    show_attention(predictor, tmp_path / "look.png", images=[str(path)])
    (name,) = rows(drawn[0])
    assert name.startswith("aaa") and name.endswith("a_end") and len(name) == 27


def test_classification(class_run_folder, tmp_path, drawn):
    predictor = Predictor(class_run_folder / "model_final.pth")
    show_attention(predictor, tmp_path / "look.png", dataset="ImageFolderFGVC", count=4)
    assert len(rows(drawn[0])) == 4
    with pytest.raises(InputError, match="has no gallery images"):
        show_attention(predictor, tmp_path / "look.png", dataset="ImageFolderFGVC", split="gallery")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "by one of --images, --pair and --dataset"),
        ({"images": ["a.png"], "dataset": "CSVReID"}, "by one of"),
        ({"pair": ["a.png"]}, "--pair names 1 images"),
        ({"dataset": "CSVReID", "count": 0}, "--count is 0"),
        ({"images": ["a.png"], "output": "look.xyz"}, r"'look\.xyz' is not the name of a picture"),
    ],
)
def test_wrong_input(predictor, tmp_path, options, message):
    with pytest.raises(InputError, match=message):
        show_attention(predictor, **{"output": tmp_path / "look.png"} | options)
    assert not (tmp_path / "look.png").exists()
