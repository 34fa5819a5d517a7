"""A model as one ONNX file, checked against PyTorch before it gets its name."""

import json
import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch.export import ExportedProgram

from .. import __version__
from ..data.images import ImageLike
from ..engine.inference import uses_half_precision
from ..engine.predictor import Predictor
from ..errors import InputError
from ..files import check_writable, written_atomically
from ..task import is_classification
from ..text import printable
from .agreement import agreement, expected_features, require_agreement
from .graph import check_exportable, trace
from .program import save_program
from .sample import check_images

__all__ = ["export_onnx", "require_packages"]

_PREDICTOR = Path(__file__).with_name("onnx_predictor.py")
# The most that one protobuf file can hold; larger weights would need a second file.
_MOST_BYTES = 2**31 - 2**24


def export_onnx(
    predictor: Predictor,
    output: str | Path,
    images: Sequence[str] = (),
    program: str | Path = "",
    with_predictor: bool = False,
) -> None:
    """Write a model as ONNX, and print how well it agrees with PyTorch.

    The graph takes ``images`` (batch, 3, H, W) uint8 RGB, any number of them, and gives ``features`` (batch, D) or
    ``probabilities`` (batch, classes), float32. The metadata say how to prepare images: see ``OnnxPredictor``.

    Args:
        predictor: of the model.
        output: ends in .onnx.
        images: files and folders to compare on; default: generated images.
        program: also write a torch.export program to this path (.pt2), for ``torch.export.load``.
        with_predictor: copy ``onnx_predictor.py`` beside the model, to run it in Python without PyTorch.

    Raises:
        InputError: onnx, onnxscript or onnxruntime is not installed; the model cannot be exported, or its graph does
            not give the features of PyTorch and is not written; a name is not UTF-8 or its folder does not exist; the
            weights exceed 2 GB; or see ``check_images``.
        OSError: a file cannot be written.
    """
    require_packages()
    for path, suffix in ((output, ".onnx"), (program, ".pt2")):
        if path and (Path(path).suffix != suffix or not Path(path).absolute().parent.is_dir()):
            raise InputError(f"{str(path)!r} cannot be written: give a name{suffix} in a folder that exists")
        if printable(str(path)) != str(path):
            raise InputError(f"{str(path)!r} cannot be written: onnxruntime opens names in UTF-8 only; give another")
        if path:
            check_writable(path)
    size = sum(tensor.nbytes for tensor in predictor.model.state_dict().values())
    if size > _MOST_BYTES:
        raise InputError(f"the weights have {size / 1e9:.1f} GB, an ONNX file at most 2 GB; choose a smaller model")
    check_exportable(predictor)
    compared = check_images(predictor, images)

    expected = expected_features(predictor, compared)
    graph = trace(predictor)
    if program:
        save_program(predictor, graph, program, expected, compared)
    with written_atomically(output) as temporary:
        _write(predictor, graph, temporary)
        _check(str(output), temporary, predictor, expected, compared)
    print(f"{output}: {Path(output).stat().st_size / 1e6:.1f} MB, fingerprint {predictor.fingerprint}")
    if uses_half_precision(predictor.cfg):
        own = agreement(expected, predictor(compared).numpy())
        print(f"{output} is in fp32; PyTorch with SOLVER.AMP.ENABLED gives other features: {own}")
    if with_predictor:
        with written_atomically(Path(output).with_name(_PREDICTOR.name)) as temporary:
            shutil.copyfile(_PREDICTOR, temporary)


def require_packages() -> None:
    """
    Raises:
        InputError: onnx, onnxscript or onnxruntime is not installed.
    """
    for name in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(name) is None:
            raise InputError(f'{name} is missing; run pip install "dcal_reid[export]"')


def _write(predictor: Predictor, graph: ExportedProgram, path: Path) -> None:
    import onnx
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    # The name of the dynamic dimension has to be given again, or it becomes s0.
    exported = torch.onnx.export(
        graph,
        dynamo=True,
        dynamic_shapes=({0: "batch"},),
        input_names=["images"],
        output_names=["probabilities" if is_classification(predictor.cfg) else "features"],
        verbose=False,
    )
    # Otherwise each node stores the names of all modules that it comes from.
    ClearMetadataAndDocStringPass()(exported.model)
    exported.model.metadata_props.update(_metadata(predictor))
    exported.save(path, external_data=False)
    onnx.checker.check_model(path, full_check=True)


def _metadata(predictor: Predictor) -> dict[str, str]:
    """All that users of the graph need to know. Values that are not plain text are JSON."""
    inputs = predictor.cfg.INPUT
    crop = predictor.image_size if inputs.CROP.ENABLED else None
    metadata = {
        "dcal_reid": "1",
        "version": __version__,
        "fingerprint": predictor.fingerprint,
        "colour": "RGB, 0 to 255; the graph normalises",
        "resize": json.dumps(list(inputs.SIZE_TEST) if inputs.SIZE_TEST[0] > 0 else None),
        "interpolation": "bicubic, antialiased, on uint8",
        "crop": json.dumps(crop),
        "flip": json.dumps(predictor.cfg.TEST.FLIP.ENABLED),
    }
    if predictor.class_names is not None:
        metadata["class_names"] = json.dumps(predictor.class_names)
    return metadata


def _check(name: str, path: Path, predictor: Predictor, expected: np.ndarray, images: Sequence[ImageLike]) -> None:
    from .onnx_predictor import OnnxPredictor

    model = OnnxPredictor(path, ["CPUExecutionProvider"], threads=torch.get_num_threads())
    print(f"{name}: {require_agreement(name, expected, model, images)}")
