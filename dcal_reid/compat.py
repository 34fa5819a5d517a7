"""The only module that touches fast-reid's internals.

The wheel ``fastreid==1.4.0`` was written for Python 3.8 and PyTorch 1.13. ``apply`` repairs what breaks on current
versions or without a compiler; each of its steps documents its reason and is idempotent. The other functions give
access to internals for which fast-reid has no public API.
"""

import collections
import collections.abc
import functools
import importlib
import importlib.util
import inspect
import os
import sys
import types
from contextlib import contextmanager

__all__ = ["apply", "registered_names", "replace_registered", "set_local_process_group"]

_INSTALL = {
    "torch": "pip install torch torchvision",
    "timm": "pip install timm",
    "faiss": "pip install faiss-cpu  (or faiss-gpu, never both)",
    "fastreid": "pip install --no-deps fastreid==1.4.0",
}


def require_dependencies() -> None:
    """Fail with one line that names the install command, not with a traceback from deep inside fast-reid.

    Raises:
        ImportError: one of torch, timm, faiss and fastreid is not installed.
    """
    for module, command in _INSTALL.items():
        if importlib.util.find_spec(module) is None:
            raise ImportError(f"dcal_reid needs {module}, which is not installed. Run: {command}", name=module)


@contextmanager
def _names_that_python_and_torch_removed():
    """Provide ``collections.Mapping`` (gone in Python 3.10) and ``torch._six`` (gone in PyTorch 2.0) for one import.

    Both are removed again: other packages test for ``torch._six`` to find out how old PyTorch is.
    """
    added_mapping = not hasattr(collections, "Mapping")
    # If users install a stand-in of their own, it has no spec, and find_spec would raise an error.
    added_six = "torch._six" not in sys.modules and importlib.util.find_spec("torch._six") is None
    if added_mapping:
        collections.Mapping = collections.abc.Mapping
    if added_six:
        six = types.ModuleType("torch._six")
        six.string_classes = (str, bytes)
        sys.modules["torch._six"] = six
    try:
        yield
    finally:
        if added_mapping:
            del collections.Mapping
        if added_six:
            del sys.modules["torch._six"]


class _ImportedOnUse(types.ModuleType):
    """A placeholder for the module of its name, which is imported on first attribute access."""

    def __getattr__(self, name: str):
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _sklearn_when_used():
    """Make ``from sklearn import metrics`` lazy for one import: scikit-learn takes as long to import as PyTorch.

    fast-reid needs it only for the ROC curve of its own evaluator.
    """
    spec = None if "sklearn" in sys.modules else importlib.util.find_spec("sklearn")
    if spec is None:
        yield
        return
    sys.modules["sklearn"] = sklearn = importlib.util.module_from_spec(spec)
    sklearn.metrics = _ImportedOnUse("sklearn.metrics")
    try:
        yield
    finally:
        del sys.modules["sklearn"]


def let_openmp_be_loaded_twice() -> None:
    """Allow two copies of OpenMP on macOS, where the wheels of PyTorch and faiss each ship their own.

    Without this variable, which must be set before the second copy is loaded, the process ends with "OMP: Error #15"
    (facebookresearch/faiss#4273). faiss must be loaded after PyTorch (pytorch/pytorch#149201), as fast-reid does; see
    also ``evaluation/faiss_threads.py``.
    """
    if sys.platform == "darwin":
        os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "TRUE")


def import_fastreid() -> None:
    """Import the parts of fast-reid that cannot be imported without the shim: ``data``, ``evaluation``, ``engine``."""
    with _names_that_python_and_torch_removed(), _sklearn_when_used():
        for module in ("fastreid.data", "fastreid.evaluation", "fastreid.engine"):
            importlib.import_module(module)


def repair_optimizer() -> None:
    """Repair training in fast-reid's ``DefaultTrainer`` and in any loop with an optimiser from ``fastreid.solver``.

    ``build_optimizer`` hands the optimiser one flat copy of all weights and makes the parameters' gradients views of
    the copy's gradient. Since PyTorch 2.0, ``zero_grad`` drops gradients instead of zeroing them, so these views are
    lost, and training runs without an error but changes no weight. With ``contiguous=False`` no copy is made.
    """
    from fastreid import solver
    from fastreid.engine import defaults

    for module in (solver.build, solver, defaults):
        build = module.build_optimizer
        if inspect.signature(build).parameters["contiguous"].default is True:
            module.build_optimizer = functools.partial(build, contiguous=False)


def rank_without_compiling() -> None:
    """Make fast-reid's own ``ReidEvaluator`` rank in Python where its compiled ranking cannot be imported.

    By default it would compile the ranking in site-packages and end the process if Cython or a compiler is missing:
    in training at the first evaluation, before there is a checkpoint.
    """
    from fastreid.evaluation import ReidEvaluator

    ReidEvaluator._compile_dependencies = lambda self: None


def replace_registered(registry, name: str, obj: object) -> None:
    """Replace what fast-reid registered as ``name`` by ``obj``; a fast-reid registry can only add."""
    registry._obj_map[name] = obj


def registered_names(registry) -> list[str]:
    """All names in a fast-reid registry, sorted; its public API can only look up one name at a time."""
    return sorted(registry._obj_map)


def set_local_process_group(group) -> None:
    """Tell fast-reid's ``comm`` which processes share this machine; only its CUDA-only ``launch`` does so."""
    from fastreid.utils import comm

    comm._LOCAL_PROCESS_GROUP = group


def apply() -> None:
    """Everything that must happen before the rest of ``dcal_reid`` can be imported."""
    require_dependencies()
    let_openmp_be_loaded_twice()
    import_fastreid()
    repair_optimizer()
    rank_without_compiling()
