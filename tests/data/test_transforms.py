"""Augmentation: fast-reid's order and meaning, on uint8 tensors. Audit, section 1 (AFFINE), section 2, rows 8 and 9."""

import random

import numpy as np
import pytest
import torch
from fastreid.data.transforms import build_transforms as fastreid_build_transforms
from PIL import Image
from torchvision.transforms.v2 import functional as F

from dcal_reid import get_cfg
from dcal_reid.data.transforms import build_transforms, output_size
from dcal_reid.errors import InputError

TRAIN_ONLY = ("FLIP", "PADDING", "CJ", "AUTOAUG", "AUGMIX", "REA")


@pytest.fixture
def cfg():
    cfg = get_cfg()
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [32, 16]
    return cfg


@pytest.fixture
def image():
    torch.manual_seed(0)
    coarse = np.random.default_rng(0).integers(0, 256, (9, 5, 3), dtype=np.uint8)
    return F.pil_to_tensor(Image.fromarray(coarse).resize((45, 70), Image.Resampling.BICUBIC))


def enable_all(cfg):
    for name in (*TRAIN_ONLY, "CROP"):
        cfg.INPUT[name].ENABLED = True
    cfg.INPUT.CROP.SIZE = [30, 20]
    cfg.INPUT.AUTOAUG.PROB = cfg.INPUT.AUGMIX.PROB = 0.5


def test_steps_are_those_of_fastreid_in_its_order(cfg):
    enable_all(cfg)
    # AFFINE makes fast-reid fail: torchvision has renamed an argument.
    theirs = [type(step).__name__ for step in fastreid_build_transforms(cfg, is_train=True).transforms]
    theirs = [name for name in theirs if name not in ("ToTensor", "Pad")]  # v2.RandomCrop pads by itself
    theirs = ["RandomApply" if name == "AugMix" else name for name in theirs]
    assert [type(step).__name__ for step in build_transforms(cfg, is_train=True).transforms] == theirs


def test_steps_are_as_probable_and_as_strong_as_fastreids(cfg):
    enable_all(cfg)
    settings = {
        "AUTOAUG.PROB": 0.11, "CROP.SCALE": [0.2, 0.9], "CROP.RATIO": [0.5, 1.5], "FLIP.PROB": 0.22, "CJ.PROB": 0.33,
        "CJ.BRIGHTNESS": 0.1, "CJ.CONTRAST": 0.2, "CJ.SATURATION": 0.3, "CJ.HUE": 0.05, "AUGMIX.PROB": 0.44,
        "REA.PROB": 0.55,
    }  # fmt: skip
    set_inputs(cfg, settings)
    ours, theirs = (
        {type(part).__name__: part for step in steps for part in (step, *getattr(step, "transforms", ()))}
        | {type(step.transforms[0]).__name__ + " p": step for step in steps if hasattr(step, "transforms")}
        for steps in (build(cfg, is_train=True).transforms for build in (build_transforms, fastreid_build_transforms))
    )
    for name, attributes in {
        "RandomResizedCrop": ("size", "scale", "ratio"),
        "RandomHorizontalFlip": ("p",),
        "ColorJitter": ("brightness", "contrast", "saturation", "hue"),
        "ColorJitter p": ("p",),
        "AutoAugment p": ("p",),
        "RandomErasing": ("p", "scale", "ratio"),
    }.items():
        for attribute in attributes:
            expected = getattr(theirs[name], attribute)
            assert tuple(np.ravel(getattr(ours[name], attribute))) == tuple(np.ravel(expected)), (name, attribute)
    assert ours["AugMix p"].p == theirs["AugMix"].prob == 0.44


def test_affine_stands_between_jitter_and_augmix(cfg, image):
    enable_all(cfg)
    cfg.INPUT.AFFINE.ENABLED = True
    transform = build_transforms(cfg, is_train=True)
    names = [type(step).__name__ for step in transform.transforms]
    assert names[names.index("RandomAffine") - 1 : names.index("RandomAffine") + 2] == [
        "RandomApply",
        "RandomAffine",
        "RandomApply",
    ]
    affine = transform.transforms[names.index("RandomAffine")]
    assert (affine.degrees, affine.scale, affine.shear) == ([-10, 10], (0.9, 1.1), [-0.1, 0.1])
    assert transform(image).shape == (3, 32, 16)


@pytest.mark.parametrize("is_train", [True, False])
def test_plain_resize_is_that_of_pillow(cfg, image, is_train):
    cfg.INPUT["SIZE_TEST" if is_train else "SIZE_TRAIN"] = [8, 8]
    pixels = build_transforms(cfg, is_train)(image)
    expected = F.pil_to_tensor(F.to_pil_image(image).resize((16, 32), Image.Resampling.BICUBIC))
    assert pixels.dtype == torch.uint8
    assert (pixels.int() - expected.int()).abs().max() <= 1


def test_flip_mirrors(cfg, image):
    plain = build_transforms(cfg)(image)
    cfg.INPUT.FLIP.ENABLED = True
    cfg.INPUT.FLIP.PROB = 1.0
    assert torch.equal(build_transforms(cfg)(image), plain.flip(-1))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect"])
def test_padding_moves_the_image_by_at_most_its_size(cfg, image, mode):
    plain = build_transforms(cfg)(image)
    cfg.INPUT.PADDING.ENABLED = True
    cfg.INPUT.PADDING.SIZE, cfg.INPUT.PADDING.MODE = 3, mode
    padded = F.pad(plain, [3], padding_mode=mode)
    windows = {(y, x): padded[:, y : y + 32, x : x + 16] for y in range(7) for x in range(7)}
    transform = build_transforms(cfg)
    results = [transform(image) for _ in range(60)]
    places = [[at for at, window in windows.items() if torch.equal(window, pixels)] for pixels in results]
    assert all(len(place) == 1 for place in places)
    assert len({place[0] for place in places}) > 15


def test_random_erasing_paints_one_rectangle_in_the_given_colour(cfg, image):
    plain = build_transforms(cfg)(image)
    cfg.INPUT.REA.ENABLED = True
    cfg.INPUT.REA.PROB = 1.0
    cfg.INPUT.REA.VALUE = [0.485 * 255, 0.456 * 255, 0.406 * 255]
    pixels = build_transforms(cfg)(image)
    changed = (pixels != plain).any(0)
    ys, xs = torch.nonzero(changed, as_tuple=True)
    rectangle = pixels[:, ys.min() : ys.max() + 1, xs.min() : xs.max() + 1]
    assert torch.equal(rectangle, torch.tensor([124, 116, 104], dtype=torch.uint8)[:, None, None].expand_as(rectangle))
    assert 0.01 < rectangle[0].numel() / plain[0].numel() < 0.4


def test_crop_is_random_in_training_and_central_in_test(cfg, image):
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.SIZE = [20, 10]
    central = build_transforms(cfg, is_train=False)(image)
    whole = F.resize(image, [32, 16], interpolation=F.InterpolationMode.BICUBIC, antialias=True)
    assert torch.equal(central, whole[:, 6:26, 3:13])
    transform = build_transforms(cfg, is_train=True)
    crops = [transform(image) for _ in range(5)]
    assert all(crop.shape == (3, 20, 10) for crop in crops)
    assert not all(torch.equal(crop, crops[0]) for crop in crops)


def test_test_images_are_never_augmented(cfg, image):
    plain = build_transforms(cfg, is_train=False)(image)
    for name in TRAIN_ONLY:
        cfg.INPUT[name].ENABLED = True
    assert torch.equal(build_transforms(cfg, is_train=False)(image), plain)


def test_all_randomness_is_torchs(cfg, image):
    enable_all(cfg)
    cfg.INPUT.AFFINE.ENABLED = True
    transform = build_transforms(cfg)
    python, numpy = random.getstate(), np.random.get_state()[1].copy()
    results = []
    for _ in range(2):
        torch.manual_seed(5)
        results.append([transform(image) for _ in range(20)])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    assert random.getstate() == python and np.array_equal(np.random.get_state()[1], numpy)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({}, (32, 16)),
        ({"SIZE_TRAIN": [24], "CROP.ENABLED": True, "CROP.SIZE": [20]}, (20, 20)),
        ({"SIZE_TRAIN": [-1], "CROP.ENABLED": True, "CROP.SIZE": [20, 10]}, (20, 10)),
        ({"CROP.ENABLED": True, "CROP.SIZE": [40, 8], "PADDING.ENABLED": True}, (32, 16)),
        ({"CROP.ENABLED": True, "CROP.SIZE": [16, 8], "PADDING.ENABLED": True}, (32, 16)),
        ({"CROP.ENABLED": True, "CROP.SIZE": [32, 16], "CROP.METHOD": "fixed"}, (32, 16)),
        ({"SIZE_TRAIN": [24], "PADDING.ENABLED": True}, (24, 24)),
    ],
)
def test_output_size(cfg, image, settings, size):
    set_inputs(cfg, settings)
    assert output_size(cfg, is_train=True) == size
    assert build_transforms(cfg)(image).shape == (3, *size)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        # audit, section 2, row 8: enabled, but nothing happens
        ({"AUTOAUG.ENABLED": True}, "INPUT.AUTOAUG.PROB is 0"),
        ({"AUGMIX.ENABLED": True}, "INPUT.AUGMIX.PROB is 0"),
        # row 9: keeps references to whole images
        ({"RPT.ENABLED": True}, "random patch is not supported"),
        ({"FLIP.ENABLED": True, "FLIP.PROB": 1.5}, "INPUT.FLIP.PROB is 1.5"),
        ({"REA.ENABLED": True, "REA.VALUE": [300.0, 0.0, 0.0]}, "INPUT.REA.VALUE"),
        ({"REA.ENABLED": True, "REA.VALUE": [1.0, 0.0]}, "one or three values"),
        ({"SIZE_TRAIN": [32]}, "fixes the shorter side only"),
        ({"SIZE_TRAIN": [32, 16, 3]}, "height, width"),
        ({"SIZE_TRAIN": [0, 16]}, "height, width"),
        ({"SIZE_TRAIN": [32.0, 16.0]}, "whole numbers"),
        ({"SIZE_TRAIN": ["a", 16]}, "whole numbers"),
        ({"SIZE_TRAIN": [32.0, 16.0], "CROP.ENABLED": True, "CROP.SIZE": [16]}, "whole numbers"),
        ({"PADDING.ENABLED": True, "PADDING.MODE": "zeros"}, "INPUT"),
        ({"PADDING.ENABLED": True, "PADDING.SIZE": -4}, "INPUT.PADDING.SIZE is -4"),
        ({"PADDING.ENABLED": True, "PADDING.SIZE": 16, "PADDING.MODE": "reflect"}, "SIZE is 16; .* from 0 to 15"),
        (
            {"CROP.ENABLED": True, "CROP.SIZE": [16], "CROP.SCALE": [1.0, 0.5]},
            r"INPUT.CROP.SCALE is \[1.0, 0.5\]; give",
        ),
        ({"CROP.ENABLED": True, "CROP.SIZE": [16], "CROP.RATIO": [0.0, 1.0]}, "INPUT.CROP.RATIO is"),
        ({"CJ.ENABLED": True, "CJ.HUE": 0.7}, "INPUT"),
        ({"CROP.ENABLED": True, "CROP.SIZE": [8, 8], "PADDING.ENABLED": True}, "is smaller than INPUT.SIZE_TRAIN"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(cfg, settings, message):
    set_inputs(cfg, settings)
    with pytest.raises(InputError, match=message) as caught:
        build_transforms(cfg)
    assert "\n" not in str(caught.value)


def test_a_test_crop_larger_than_the_image_is_refused(cfg):
    """torchvision would add a black border."""
    set_inputs(cfg, {"CROP.ENABLED": True, "CROP.SIZE": [40, 16]})
    with pytest.raises(InputError, match="is larger than INPUT"):
        build_transforms(cfg, is_train=False)


def set_inputs(cfg, settings):
    for key, value in settings.items():
        *parents, last = key.split(".")
        node = cfg.INPUT
        for parent in parents:
            node = node[parent]
        node[last] = value


def test_a_fixed_crop_is_cut_out_without_scaling(cfg, image):
    cfg.INPUT.SIZE_TRAIN = cfg.INPUT.SIZE_TEST = [40, 24]
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.METHOD, cfg.INPUT.CROP.SIZE = True, "fixed", [32, 16]
    resized = F.resize(image, [40, 24], interpolation=F.InterpolationMode.BICUBIC, antialias=True)
    places = {
        resized[:, y : y + 32, x : x + 16].numpy().tobytes(): (y, x) for y in range(40 - 31) for x in range(24 - 15)
    }
    torch.manual_seed(0)
    transform = build_transforms(cfg, is_train=True)
    found = {places[transform(image).numpy().tobytes()] for _ in range(300)}
    assert len(found) > 0.8 * len(places)
    assert torch.equal(build_transforms(cfg, is_train=False)(image), resized[:, 4:36, 4:20])
    cfg.INPUT.CROP.SIZE = [48, 16]
    for is_train in (True, False):
        with pytest.raises(InputError, match="is larger than"):
            build_transforms(cfg, is_train)


def test_a_banner_is_cut_off_before_anything_else(cfg, image):
    image = image.clone()
    image[:, -20:] = torch.randint(0, 256, (3, 20, 45), dtype=torch.uint8)
    for is_train in (True, False):
        expected = build_transforms(cfg, is_train)(image[:, :-20])
        assert torch.equal(build_transforms(cfg, is_train, banner=20)(image), expected)
    # An image that is all banner is better than no image.
    assert build_transforms(cfg, is_train=False, banner=20)(image[:, :20]).shape == (3, 32, 16)
