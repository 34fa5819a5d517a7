import pytest

from dcal_reid.benchmark import infer, models
from dcal_reid.errors import InputError

pytestmark = pytest.mark.usefixtures("toys")


@pytest.mark.usefixtures("half_precision")
@pytest.mark.parametrize("readout", ["cls", "mean"])
@pytest.mark.parametrize(("case", "amp"), [("toy", "none"), ("toy-classes", "bf16")])
def test_infer(capsys, case, amp, readout):
    ratios = infer.benchmark_infer([case], batch=1, repeats=1, amp=amp, readout=readout)[case]
    assert set(ratios) == {"time: ours / timm", "operations: ours / timm", "time: ours / naive"}
    assert 0.5 < ratios["operations: ours / timm"] < 1.6  # one block of three more at most
    out = capsys.readouterr().out
    assert f"Inference, {case}, batch 1, read-out {readout}" in out
    assert all(f"| {way} " in out for way in ("ours", "timm, SA alone", "naive DCAL"))


def test_precision_that_the_processor_has_not(monkeypatch):
    monkeypatch.setattr(models, "has_half_precision", lambda device, dtype: False)
    with pytest.raises(InputError, match="--amp is bf16, but this processor has no instructions for it"):
        infer.benchmark_infer(["toy"], amp="bf16")


def test_the_cls_readout_costs_fewer_operations():
    cls, mean = (
        infer.benchmark_infer(["toy"], repeats=1, readout=readout)["toy"]["operations: ours / timm"]
        for readout in ("cls", "mean")
    )
    assert cls < mean


def test_wrong_input():
    with pytest.raises(InputError, match="unknown case 'vit-z'"):
        infer.benchmark_infer(["vit-z"])
    with pytest.raises(InputError, match="a batch of 0 images"):
        infer.benchmark_infer(["toy"], batch=0)
