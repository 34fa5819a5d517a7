import pytest
import torch
from safetensors.torch import save_file

from dcal_reid.engine.weight_file import export_metadata, read_weights
from dcal_reid.errors import InputError

CLASSIFIER = {"heads.sa.weight": torch.zeros(4, 8)}


def test_what_a_checkpoint_tells(tmp_path):
    told = {"grid_size": [4, 2], "class_names": ["a", "b"], "num_classes": 2}
    torch.save({"model": CLASSIFIER, "place": {"epochs": 3}, **told}, tmp_path / "a.pth")
    weights = read_weights(tmp_path / "a.pth")
    assert weights[1:] == ([4, 2], ["a", "b"], 2) and weights.state.keys() == CLASSIFIER.keys()
    torch.save({"model": CLASSIFIER, "ema": {"heads.sa.weight": torch.ones(5, 8)}}, tmp_path / "a.pth")
    weights = read_weights(tmp_path / "a.pth")
    # The average was evaluated; if the file has no number of classes, the classifier gives it.
    assert weights[1:] == (None, None, 5) and weights.state["heads.sa.weight"].all()
    assert export_metadata(str(tmp_path / "a.pth")) == {}


def test_tensors_alone_tell_the_number_of_classes_or_none(tmp_path):
    save_file(CLASSIFIER, tmp_path / "a.safetensors")
    assert read_weights(tmp_path / "a.safetensors")[1:] == (None, None, 4)
    save_file({"backbone.x": torch.zeros(1)}, tmp_path / "a.safetensors", {"grid_size": "of another program"})
    assert read_weights(tmp_path / "a.safetensors")[1:] == (None, None, 0)


@pytest.mark.parametrize("told", [{"grid_size": [4]}, {"class_names": [1]}, {"num_classes": True}])
def test_what_is_told_wrongly_is_named(tmp_path, told):
    torch.save({"model": CLASSIFIER, **told}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=rf"is damaged: its {next(iter(told))} is not as it was written"):
        read_weights(tmp_path / "a.pth")
