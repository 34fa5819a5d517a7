"""Where a model looks: in image files, in images of a dataset, and in an image beside its distractor."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..data import load_dataset
from ..data.datasets.listing import images_below
from ..engine.predictor import Predictor
from ..errors import InputError
from ..evaluation.plot import prepare_picture_path
from ..modeling import check_attention
from .attention import draw_attention
from .chosen import spread
from .pair_attention import draw_pair_attention

__all__ = ["draw_attention_of", "image_files", "show_attention"]

# Characters of an image's name that are shown beside it.
NAME_LENGTH = 26


def show_attention(
    predictor: Predictor,
    output: str | Path,
    *,
    images: Sequence[str] = (),
    pair: Sequence[str] = (),
    dataset: str = "",
    split: str = "query",
    count: int = 8,
) -> None:
    """Draw where SA and GLCA look and what GLCA selects, one row per image; or, for a pair, where SA and PWCA look.

    Args:
        predictor: with a backbone that has a CLS token.
        output: the picture to write; its suffix is the format.
        images: image files, and folders; of each folder ``count`` images are drawn.
        pair: two image files, each other's distractor.
        dataset: the name of a dataset of which ``count`` images are drawn, evenly spread.
        split: of the dataset: query (the test images, if it is for classification) | gallery | train.
        count: how many images of a folder or dataset.

    Raises:
        InputError: not exactly one of images, pair and dataset, nothing to draw, an image that cannot be read, or a
            backbone without a CLS token.
    """
    prepare_picture_path(output)
    if sum(map(bool, (images, pair, dataset))) != 1:
        raise InputError("give the images to draw by one of --images, --pair and --dataset")
    if count < 1:
        raise InputError(f"--count is {count}; give at least 1")
    if pair:
        _show_pair(predictor, output, pair)
        return
    if dataset:
        found = load_dataset(dataset, predictor.cfg)
        predictor = predictor.without_banner(getattr(found, "banner", 0))
        every = [path for path, *_ in getattr(found, split)]
        if not every:
            raise InputError(f"dataset {dataset} has no {split} images; choose another --split")
        paths = spread(np.array(every), min(count, len(every)))
    else:
        paths = image_files(images, count)
    draw_attention_of(output, predictor, paths, row_titles=[_name(path) for path in paths])


def draw_attention_of(
    path: str | Path, predictor: Predictor, image_paths: Sequence[str], *, row_titles: Sequence[str] | None = None
) -> None:
    """Where SA and GLCA look in some images, and which patches are GLCA's local queries (DCAL figs. 3 and 4).

    Args:
        path: the picture to write.
        predictor: with a backbone that has a CLS token.
        image_paths: image files.
        row_titles: a text for each image.

    Raises:
        InputError: an image that cannot be read, or a model whose attention cannot be drawn.
    """
    images = predictor.preprocess(image_paths)
    maps = predictor.attention_of(images)
    columns = {"SA rollout": maps.sa}
    if maps.glca is not None:
        columns["GLCA rollout"] = maps.glca
    draw_attention(path, images, columns, maps.selected, row_titles=row_titles)


def image_files(places: Sequence[str], count: int) -> list[str]:
    """The given image files, and from each folder at most ``count``, evenly spread over all images in and below it.

    Raises:
        InputError: no such file or folder, or a folder without images.
    """
    paths = []
    for place in map(Path, places):
        if place.is_file():
            paths.append(str(place))
        elif place.is_dir():
            found = images_below(str(place))
            if not found:
                raise InputError(f"there is no image in or below the folder {str(place)!r}")
            paths += spread(np.array(found), min(count, len(found)))
        else:
            raise InputError(f"image or folder {str(place)!r} not found; check the path")
    return paths


def _show_pair(predictor: Predictor, output: str | Path, pair: Sequence[str]) -> None:
    if len(pair) != 2:
        raise InputError(f"--pair names {len(pair)} images; give two")
    check_attention(predictor.model)
    images = predictor.preprocess(pair)
    pwca = predictor.model.pair_attention_maps(images)
    draw_pair_attention(
        output, images, predictor.model.attention_maps(images).sa, pwca, names=[_name(path) for path in pair]
    )


def _name(path: str) -> str:
    """The file's name, without its middle if it is long."""
    name, half = Path(path).stem, NAME_LENGTH // 2
    return name if len(name) <= NAME_LENGTH else f"{name[:half]}…{name[-half:]}"
