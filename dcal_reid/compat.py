"""The only place that touches fast-reid's internals.

The wheel ``fastreid==1.4.0`` was written for Python 3.8 and PyTorch 1.13. ``apply`` repairs what breaks with current
ones, or in an installation without a compiler; each of its steps says why and can be repeated. The rest reaches what
fast-reid has no public function for.
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
    """Fail with one line that names the command, not with a traceback from deep inside fast-reid.

    Raises:
        ImportError: one of torch, timm, faiss and fastreid is not installed.
    """
    for module, command in _INSTALL.items():
        if importlib.util.find_spec(module) is None:
            raise ImportError(f"dcal_reid needs {module}, which is not installed. Run: {command}", name=module)


@contextmanager
def _names_that_python_and_torch_removed():
    """``collections.Mapping`` (gone in Python 3.10) and ``torch._six`` (gone in PyTorch 2.0), for one import only.

    They are taken away again: other packages test for ``torch._six`` to find out how old PyTorch is.
    """
    added_mapping = not hasattr(collections, "Mapping")
    # A user's own stand-in has no specification, and to look for one is an error then.
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
    """Stands for the module of its name, which is imported when something of it is asked for."""

    def __getattr__(self, name: str):
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def _sklearn_when_used():
    """For one import, ``from sklearn import metrics`` does not import it, which takes as long as PyTorch's own import.

    fast-reid needs it for the ROC curve of its own evaluator alone.
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
    """On macOS the wheels of PyTorch and faiss each bring an OpenMP, and the second one to start ends the process with
    "OMP: Error #15" (facebookresearch/faiss#4273), unless this is set before it is loaded.

    faiss must come second (pytorch/pytorch#149201), as fast-reid imports them. What else it needs is in
    ``evaluation/faiss_threads.py``.
    """
    if sys.platform == "darwin":
        os.environ.setdefault("KMP_DUPLICATE_LIB_OK", "TRUE")


def import_fastreid() -> None:
    """Import the parts of fast-reid that do not import by themselves: ``data``, ``evaluation`` and ``engine``."""
    with _names_that_python_and_torch_removed(), _sklearn_when_used():
        for module in ("fastreid.data", "fastreid.evaluation", "fastreid.engine"):
            importlib.import_module(module)


def repair_optimizer() -> None:
    """Make fast-reid's own ``DefaultTrainer`` train, and any loop that takes its optimiser from ``fastreid.solver``.

    ``build_optimizer`` hands the optimiser one flat copy of all weights, whose gradient is a view of the
    parameters' gradients. Since PyTorch 2.0 ``zero_grad`` drops gradients instead of zeroing them, the views part,
    and training runs without an error and changes no weight. With ``contiguous=False`` the copy is not made.
    """
    from fastreid import solver
    from fastreid.engine import defaults

    for module in (solver.build, solver, defaults):
        build = module.build_optimizer
        if inspect.signature(build).parameters["contiguous"].default is True:
            module.build_optimizer = functools.partial(build, contiguous=False)


def rank_without_compiling() -> None:
    """Let fast-reid's own ``ReidEvaluator`` rank in Python where its compiled ranking cannot be imported.

    It would compile it then, in site-packages, and where Cython or a compiler is missing end the process: in training
    at the first evaluation, before there is a checkpoint.
    """
    from fastreid.evaluation import ReidEvaluator

    ReidEvaluator._compile_dependencies = lambda self: None


def replace_registered(registry, name: str, obj: object) -> None:
    """Put ``obj`` in the place of what fast-reid registered as ``name``; a fast-reid registry can only add."""
    registry._obj_map[name] = obj


def registered_names(registry) -> list[str]:
    """What a fast-reid registry holds, sorted; it can only be asked for one name at a time."""
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
