import collections
import importlib.util
import os
import subprocess
import sys
import types

import fastreid.engine.defaults
import numpy as np
import pytest
import torch
from fastreid.evaluation import ReidEvaluator
from fastreid.utils import comm
from fastreid.utils.registry import Registry

from dcal_reid import compat
from dcal_reid.evaluation import DCALReidEvaluator


def run(code):
    return subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", code], capture_output=True, text=True)


def test_import_registers_everything_for_an_existing_fastreid_script():
    result = run(
        "import dcal_reid\n"
        "from fastreid.config import get_cfg\n"
        "from fastreid.data import build_reid_train_loader\n"
        "from fastreid.engine import DefaultTrainer\n"
        "from fastreid.data.datasets import DATASET_REGISTRY\n"
        "from fastreid.modeling.meta_arch.build import META_ARCH_REGISTRY\n"
        "from fastreid.modeling.backbones import BACKBONE_REGISTRY\n"
        "from fastreid.modeling.heads import REID_HEADS_REGISTRY\n"
        "META_ARCH_REGISTRY.get('DCAL'); BACKBONE_REGISTRY.get('build_timm_backbone')\n"
        "REID_HEADS_REGISTRY.get('DCALHead'); DATASET_REGISTRY.get('CSVReID')\n"
        "print(get_cfg().MODEL.DCAL.GLCA.RATIO)\n"
    )
    assert result.stderr == "" and result.stdout == "0.3\n"


def test_does_not_import_what_few_runs_need():
    result = run(
        "import dcal_reid, sys; print({'cv2', 'matplotlib', 'sklearn', 'pandas'} & set(sys.modules))\n"
        "from fastreid.evaluation import reid_evaluation\n"
        "print(reid_evaluation.metrics.auc([0, 1], [0, 1]))\n"
    )
    assert result.stdout == "set()\n0.5\n"


def test_pytorch_is_imported_before_faiss():
    """Both in the package and in conftest.py: the other order crashes on Macs with Apple silicon."""
    result = run("import sys, dcal_reid; print(*sys.modules)")
    for order in (result.stdout.split(), list(sys.modules)):
        assert order.index("torch") < order.index("faiss")


@pytest.mark.parametrize(
    ("platform", "given", "expected"), [("darwin", None, "TRUE"), ("darwin", "FALSE", "FALSE"), ("linux", None, None)]
)
def test_openmp_may_be_loaded_twice_on_macos(monkeypatch, platform, given, expected):
    """The variable is set before fast-reid imports faiss, unless the user has set it."""
    found = []
    monkeypatch.setenv("KMP_DUPLICATE_LIB_OK", given or "")
    if given is None:
        monkeypatch.delenv("KMP_DUPLICATE_LIB_OK")
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(compat, "import_fastreid", lambda: found.append(os.environ.get("KMP_DUPLICATE_LIB_OK")))
    compat.apply()
    assert found == [expected]


def test_leaves_no_trace_in_python_and_torch():
    assert not hasattr(collections, "Mapping")
    assert importlib.util.find_spec("torch._six") is None


def test_what_a_script_did_to_import_fastreid_by_itself_stays():
    result = run(
        "import collections.abc, sys, types\n"
        "collections.Mapping = collections.abc.Mapping\n"
        "sys.modules['torch._six'] = six = types.ModuleType('torch._six')\n"
        "six.string_classes = (str,)\n"
        "import dcal_reid\n"
        "print(sys.modules['torch._six'] is six, hasattr(collections, 'Mapping'))\n"
    )
    assert result.stdout == "True True\n", result.stderr


def test_a_stand_in_for_scikit_learn_stays(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", own := types.ModuleType("sklearn"))
    with compat._sklearn_when_used():
        assert sys.modules["sklearn"] is own
    assert sys.modules["sklearn"] is own


def test_can_be_applied_twice():
    build = fastreid.engine.defaults.build_optimizer
    compat.apply()
    assert fastreid.engine.defaults.build_optimizer is build


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("faiss", "pip install faiss-cpu"),
        ("timm", "pip install timm"),
        ("fastreid", "pip install --no-deps fastreid==1.4.0"),
    ],
)
def test_a_missing_dependency_is_one_line_with_the_command(monkeypatch, module, command):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find_spec(name))
    with pytest.raises(ImportError) as error:
        compat.require_dependencies()
    assert command in str(error.value) and "\n" not in str(error.value)


BUILDERS = pytest.mark.parametrize("module", [fastreid.engine.defaults, fastreid.solver, fastreid.solver.build])


@BUILDERS
def test_fastreids_own_trainer_and_solver_train(tiny_cfg, module):
    """Its default optimiser (contiguous) changes no weight on PyTorch 2, and raises no error."""
    model = torch.nn.Linear(3, 2)
    for options, trains in (({"contiguous": True}, False), ({}, True)):
        optimizer, _ = module.build_optimizer(tiny_cfg, model, **options)
        before = model.weight.detach().clone()
        for _ in range(2):
            optimizer.zero_grad()
            model(torch.ones(1, 3)).sum().backward()
            optimizer.step()
        assert torch.equal(model.weight, before) is not trains


@BUILDERS
def test_the_repair_is_a_no_op_where_it_is_not_needed(monkeypatch, module):
    def repaired(cfg, model, contiguous=False):
        return None

    monkeypatch.setattr(module, "build_optimizer", repaired)
    compat.repair_optimizer()
    assert module.build_optimizer is repaired


@pytest.mark.filterwarnings("ignore:Cython rank evaluation", "ignore:This overload of addmm_ is deprecated")
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_fastreids_own_evaluator_compiles_nothing_and_gives_the_metrics_of_ours(tiny_cfg, monkeypatch, metric):
    monkeypatch.setattr(subprocess, "run", lambda *args, **kwargs: pytest.fail("compiled"))
    rng = np.random.default_rng(0)
    pids, camids = rng.integers(0, 20, 200), rng.integers(0, 4, 200)
    features = rng.standard_normal((20, 16))[pids] + 1.5 * rng.standard_normal((200, 16))
    batch = {"targets": torch.tensor(pids), "camids": torch.tensor(camids), "indices": torch.arange(200)}
    batch["img_paths"] = [f"{number}.jpg" for number in range(200)]
    tiny_cfg.TEST.METRIC = metric
    results = []
    for evaluator in (ReidEvaluator(tiny_cfg, 50), DCALReidEvaluator(tiny_cfg, 50)):
        evaluator.process(batch, torch.tensor(features, dtype=torch.float32))
        results.append(evaluator.evaluate())
    assert results[0] == pytest.approx(results[1]) and 20 < results[1]["mAP"] < 80


def test_replace_registered():
    registry = Registry("TEST")

    @registry.register()
    def thing():
        return 1

    compat.replace_registered(registry, "thing", "other")
    compat.replace_registered(registry, "another", "more")
    assert registry.get("thing") == "other"
    assert compat.registered_names(registry) == ["another", "thing"]


def test_set_local_process_group(monkeypatch):
    monkeypatch.setattr(comm, "_LOCAL_PROCESS_GROUP", None)
    compat.set_local_process_group("group")
    assert comm._LOCAL_PROCESS_GROUP == "group"
