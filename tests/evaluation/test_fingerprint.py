import pytest
import torch

from dcal_reid.evaluation.fingerprint import model_fingerprint


def test_fingerprint_of_a_model():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    name = model_fingerprint(model.state_dict())
    assert len(name) == 16 and name == model_fingerprint(model.state_dict())
    with torch.no_grad():
        model[0].bias[1] += 1e-6
    assert model_fingerprint(model.state_dict()) != name
    assert model_fingerprint(model.state_dict(), "128x64") != model_fingerprint(model.state_dict())


def test_a_fingerprint_is_of_names_shapes_and_types_in_any_order():
    a, b = torch.ones(2, 3), torch.zeros(2)
    name = model_fingerprint({"a": a, "b": b})
    assert model_fingerprint({"b": b, "a": a}) == name
    others = [{"a": a, "c": b}, {"a": a.reshape(3, 2), "b": b}, {"a": a, "b": b.int()}, {"a": a}]
    assert len({name, *map(model_fingerprint, others)}) == 5


def test_a_fingerprint_stays_what_it_is():
    """Galleries and exports on disk store it; if it changed, all of them would seem to be of another model."""
    weights = {
        "norm.num_batches_tracked": torch.tensor(3),
        "head.weight": torch.tensor([[1.0, -2.0], [0.5, 0.0]]),
        "head.half": torch.tensor([1.0, -2.0], dtype=torch.bfloat16),
        "none": torch.empty(0, 4),
    }
    # BLAKE2b of the settings, then name, type, shape and little-endian values in the order of the names.
    assert model_fingerprint(weights, "224x224") == "33df5c2f56c7862c"


@pytest.mark.parametrize(
    "view", [lambda t: t.T.contiguous().T, lambda t: t.repeat_interleave(2, 0)[::2], torch.nn.Parameter]
)
def test_a_fingerprint_is_of_values_wherever_they_lie(view):
    values = torch.arange(12.0).reshape(2, 6)
    assert model_fingerprint({"a": view(values)}) == model_fingerprint({"a": values})
    assert model_fingerprint({"a": view(values + 1)}) != model_fingerprint({"a": values})
