import io
from pathlib import Path

import pytest
import torch

from dcal_reid import Predictor
from dcal_reid.errors import InputError
from dcal_reid.export.graph import check_exportable, trace


@pytest.fixture
def run_cfg(run_cfg):
    """With one block, because PyTorch needs seconds to trace each."""
    run_cfg.MODEL.BACKBONE.TIMM_KWARGS.depth = run_cfg.MODEL.DCAL.PWCA.NUM_BLOCKS = 1
    return run_cfg


def predictor_of(run_folder, **options):
    overrides = [word for key, value in options.items() for word in ("MODEL.DCAL." + key.replace("__", "."), value)]
    return Predictor(run_folder / "model_final.pth", overrides=[*overrides, "TEST.FLIP.ENABLED", "True"], device="cpu")


@pytest.mark.parametrize(("options", "possible"), [
    ({"GLCA__READOUT": "mean"}, False),
    ({"GLCA__READOUT": "cls"}, True),  # nothing is selected
    ({"GLCA__READOUT": "mean", "INFERENCE": "sa"}, True),
    ({"GLCA__READOUT": "mean", "INFERENCE": "glca"}, False),
])  # fmt: skip
def test_a_random_selection_is_refused_only_where_it_decides(run_folder, options, possible):
    predictor = predictor_of(run_folder, GLCA__SELECTION="random", **options)
    if possible:
        check_exportable(predictor)
        return
    with pytest.raises(InputError, match=r"set MODEL\.DCAL\.GLCA\.SELECTION rollout, or MODEL\.DCAL\.INFERENCE sa"):
        check_exportable(predictor)


def test_a_graph_gives_what_the_predictor_gives_and_knows_no_path(run_folder):
    predictor, buffer = predictor_of(run_folder), io.BytesIO()
    torch.export.save(trace(predictor), buffer)
    assert buffer.getvalue().count(str(Path(__file__).parents[2]).encode()) == 0  # of which the error is short
    buffer.seek(0)
    graph = torch.export.load(buffer).module()
    generator = torch.Generator().manual_seed(0)
    for number in (1, 2, 5):
        images = torch.randint(0, 256, (number, 3, 64, 32), dtype=torch.uint8, generator=generator)
        torch.testing.assert_close(graph(images), predictor(images), rtol=1e-3, atol=1e-5)
