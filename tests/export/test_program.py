import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from dcal_reid import Predictor
from dcal_reid.errors import InputError
from dcal_reid.export.program import save_program


class MeanColour(nn.Module):
    def forward(self, images):
        return images.float().mean(dim=(2, 3))


@pytest.fixture
def graph():
    images = torch.zeros((2, 3, 64, 32), dtype=torch.uint8)
    return torch.export.export(MeanColour(), (images,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},))


@pytest.fixture
def images(crops):
    return sorted(map(str, crops.glob("*.png")))[:9]


@pytest.fixture
def colours(images):
    return np.stack([np.asarray(Image.open(path), dtype=np.float32).mean(axis=(0, 1)) for path in images])


def test_the_program_is_what_was_compared(graph, run_folder, images, colours, tmp_path, capsys):
    predictor = Predictor(run_folder / "model_final.pth", device="cpu")
    save_program(predictor, graph, tmp_path / "model.pt2", colours, images)
    assert "model.pt2: 9 images: cosine at least 1.0" in capsys.readouterr().out
    found = torch.export.load(tmp_path / "model.pt2").module()(predictor.preprocess(images))
    np.testing.assert_allclose(found, colours, rtol=1e-5)


def test_one_that_differs_leaves_the_file_of_before(graph, run_folder, images, colours, tmp_path):
    path, predictor = tmp_path / "new" / "model.pt2", Predictor(run_folder / "model_final.pth", device="cpu")
    path.parent.mkdir()
    path.write_text("the one before")
    colours[8] += (9, 0, 0)
    with pytest.raises(InputError, match=r"model\.pt2 does not give the features of PyTorch"):
        save_program(predictor, graph, path, colours, images)
    assert path.read_text() == "the one before" and len(list(path.parent.iterdir())) == 1
