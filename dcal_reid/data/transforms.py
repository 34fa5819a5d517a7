"""fast-reid's augmentations, in the same order and with the same meaning, on uint8 tensors.

All transforms come from ``torchvision.transforms.v2`` and draw random numbers only from torch's generator.
Nothing is normalised here: the model does that on its device.
"""

import functools

from fastreid.config import CfgNode
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import InterpolationMode

from ..errors import InputError

__all__ = ["build_transforms", "output_size"]


def build_transforms(cfg: CfgNode, is_train: bool = True, banner: int = 0) -> v2.Transform:
    """The transform of one image: (3, any, any) uint8 to (3, H, W) uint8, where H, W = ``output_size(cfg, is_train)``.

    Training: AUTOAUG, resize, CROP, PADDING, FLIP, CJ, AFFINE, AUGMIX, REA. Test: resize, centre CROP.

    Args:
        cfg: everything under INPUT.
        is_train: for training, else for testing.
        banner: rows of pixels to cut from the bottom of the image before anything else.

    Raises:
        InputError: a setting that torchvision does not support; AUTOAUG or AUGMIX enabled with probability 0.
    """
    before = [v2.Lambda(functools.partial(_without_banner, rows=banner))] if banner else []
    try:
        return v2.Compose(before + (_train_steps(cfg) if is_train else _test_steps(cfg)))
    except InputError:
        raise
    except (TypeError, ValueError) as error:
        raise InputError(f"a value under INPUT in the config cannot be used: {' '.join(str(error).split())}") from error


def _without_banner(image: Tensor, rows: int) -> Tensor:
    """(3, H, W) without its last ``rows`` rows; an image with no more rows than that is left whole."""
    return image[:, :-rows] if image.shape[1] > rows else image


def _test_steps(cfg: CfgNode) -> list[v2.Transform]:
    size = output_size(cfg, is_train=False)
    return _resize(cfg.INPUT.SIZE_TEST) + ([v2.CenterCrop(size)] if cfg.INPUT.CROP.ENABLED else [])


def _train_steps(cfg: CfgNode) -> list[v2.Transform]:
    inputs = cfg.INPUT
    size = output_size(cfg, is_train=True)
    if inputs.RPT.ENABLED:
        raise InputError(
            "INPUT.RPT.ENABLED is True, but random patch is not supported: its pool of patches holds on to whole "
            "images; use INPUT.REA (random erasing)"
        )
    steps = []
    if inputs.AUTOAUG.ENABLED:
        auto_augment = v2.AutoAugment(interpolation=InterpolationMode.BILINEAR, fill=128)
        steps.append(v2.RandomApply([auto_augment], p=_probability("AUTOAUG", inputs.AUTOAUG.PROB, zero=False)))
    steps += _resize(inputs.SIZE_TRAIN)
    if inputs.CROP.ENABLED:
        cropped = _height_width("INPUT.CROP.SIZE", inputs.CROP.SIZE)
        if inputs.CROP.METHOD == "fixed":
            steps.append(v2.RandomCrop(cropped))
        else:
            steps.append(
                v2.RandomResizedCrop(
                    cropped,
                    scale=_range("SCALE", inputs.CROP.SCALE),
                    ratio=_range("RATIO", inputs.CROP.RATIO),
                    interpolation=InterpolationMode.BICUBIC,
                    antialias=True,
                )
            )
    if inputs.PADDING.ENABLED:
        _check_padding(inputs.PADDING, min(cropped if inputs.CROP.ENABLED else size))
        steps.append(v2.RandomCrop(size, padding=inputs.PADDING.SIZE, padding_mode=inputs.PADDING.MODE))
    if inputs.FLIP.ENABLED:
        steps.append(v2.RandomHorizontalFlip(_probability("FLIP", inputs.FLIP.PROB)))
    if inputs.CJ.ENABLED:
        jitter = v2.ColorJitter(inputs.CJ.BRIGHTNESS, inputs.CJ.CONTRAST, inputs.CJ.SATURATION, inputs.CJ.HUE)
        steps.append(v2.RandomApply([jitter], p=_probability("CJ", inputs.CJ.PROB)))
    if inputs.AFFINE.ENABLED:
        steps.append(v2.RandomAffine(degrees=10, scale=(0.9, 1.1), shear=0.1))
    if inputs.AUGMIX.ENABLED:
        mix = v2.AugMix(severity=1, mixture_width=3, chain_depth=1, alpha=0.1, all_ops=False)
        steps.append(v2.RandomApply([mix], p=_probability("AUGMIX", inputs.AUGMIX.PROB, zero=False)))
    if inputs.REA.ENABLED:
        steps.append(v2.RandomErasing(_probability("REA", inputs.REA.PROB), value=_erasing_value(inputs.REA.VALUE)))
    return steps


def _resize(size) -> list[v2.Transform]:
    """Resize to [height, width] or [shorter side]; no resize if the first value is 0 or less, as in fast-reid."""
    size = list(size)
    return [v2.Resize(size, interpolation=InterpolationMode.BICUBIC, antialias=True)] if size[0] > 0 else []


def output_size(cfg: CfgNode, is_train: bool) -> tuple[int, int]:
    """Height and width in pixels of every image that ``build_transforms(cfg, is_train)`` returns.

    Raises:
        InputError: the images of a batch would differ in size, or a crop is larger than the image.
    """
    key = "INPUT.SIZE_TRAIN" if is_train else "INPUT.SIZE_TEST"
    size = list(cfg.INPUT.SIZE_TRAIN if is_train else cfg.INPUT.SIZE_TEST)
    crop = cfg.INPUT.CROP.ENABLED
    padding = is_train and cfg.INPUT.PADDING.ENABLED
    if crop and not padding:
        cropped = _height_width("INPUT.CROP.SIZE", cfg.INPUT.CROP.SIZE)
        # A crop that is resized to CROP.SIZE may be larger than the image it is cut from.
        scaled = is_train and cfg.INPUT.CROP.METHOD == "scaled"
        if size[0] > 0:
            height, width = _height_width(key, size)
            if not scaled and (cropped[0] > height or cropped[1] > width):
                raise InputError(f"INPUT.CROP.SIZE {cropped} is larger than {key} {tuple(size)}; make the crop smaller")
        return cropped
    if not padding and len(size) == 1:
        raise InputError(
            f"{key} {size} fixes the shorter side only, so images of one batch differ in size; give height and width, "
            "or enable INPUT.CROP"
        )
    target = _height_width(key, size)
    if padding and crop:
        cropped = _height_width("INPUT.CROP.SIZE", cfg.INPUT.CROP.SIZE)
        if any(c + 2 * cfg.INPUT.PADDING.SIZE < t for c, t in zip(cropped, target, strict=True)):
            raise InputError(
                f"INPUT.CROP.SIZE {cropped} with INPUT.PADDING.SIZE {cfg.INPUT.PADDING.SIZE} around it is smaller "
                f"than {key} {target}, which is cut out of it; disable one of the two"
            )
    return target


def _height_width(key: str, size) -> tuple[int, int]:
    size = tuple(size)
    if len(size) not in (1, 2) or any(not isinstance(side, int) or side < 1 for side in size):
        raise InputError(f"{key} is {list(size)}; give [height, width] in pixels, both whole numbers of at least 1")
    return size[0], size[-1]


def _probability(name: str, value: float, zero: bool = True) -> float:
    if not 0 <= value <= 1:
        raise InputError(f"INPUT.{name}.PROB is {value}; it must lie between 0 and 1")
    if value == 0 and not zero:  # fast-reid's default for these two, which silently does nothing
        raise InputError(f"INPUT.{name}.ENABLED is True but INPUT.{name}.PROB is 0; set a probability, e.g. 0.1")
    return value


def _range(name: str, values) -> tuple[float, float]:
    values = tuple(values)
    if len(values) != 2 or not 0 < values[0] <= values[1]:
        raise InputError(f"INPUT.CROP.{name} is {list(values)}; give [smallest, largest], both above 0")
    return values


def _check_padding(padding: CfgNode, shorter_side: int) -> None:
    most = {"reflect": shorter_side - 1, "symmetric": shorter_side}.get(padding.MODE)
    if padding.SIZE < 0 or (most is not None and most < padding.SIZE):
        sizes = "0 or more" if most is None else f"from 0 to {most}"
        raise InputError(f"INPUT.PADDING.SIZE is {padding.SIZE}; with INPUT.PADDING.MODE {padding.MODE} give {sizes}")


def _erasing_value(value) -> list[float]:
    values = list(value)
    if len(values) not in (1, 3) or not all(0 <= v <= 255 for v in values):
        raise InputError(f"INPUT.REA.VALUE is {values}; give one or three values between 0 and 255")
    return [float(round(v)) for v in values]
