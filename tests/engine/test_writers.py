import json
import logging

from fastreid.utils.events import EventStorage

from dcal_reid.engine.writers import ProgressPrinter, prepare_metrics_file


def test_a_run_that_starts_anew_keeps_the_old_metrics(tmp_path):
    path = tmp_path / "metrics.json"
    prepare_metrics_file(path, 0)
    for text in ("first", "second"):
        path.write_text(text)
        prepare_metrics_file(path, 0)
        assert not path.exists()
    assert (tmp_path / "metrics.1.json").read_text() == "first"
    assert (tmp_path / "metrics.2.json").read_text() == "second"


def test_a_resumed_run_drops_what_came_after_its_checkpoint(tmp_path):
    path = tmp_path / "metrics.json"
    lines = [json.dumps({"iteration": i, "loss": 1.0}) for i in (9, 19, 29, 39)]
    path.write_text("\n".join(lines) + '\n{"iteration": 4')
    prepare_metrics_file(path, 30)
    assert path.read_text() == "\n".join(lines[:3]) + "\n"


def test_the_progress_line(caplog):
    logging.getLogger("dcal_reid").propagate = True
    with EventStorage(19) as storage, caplog.at_level(logging.INFO, logger="dcal_reid"):
        storage.epoch = 1
        printer = ProgressPrinter(max_iter=100, iters_per_epoch=10, images_per_iter=64)
        printer.write()
        assert caplog.text == ""
        scalars = {"total_loss": 2.5, "sa/ce": 1.25, "sa/triplet": 0.5, "sa/accuracy": 0.75, "sa/loss_weight": 0.1}
        storage.put_scalars(**scalars, lr=0.008, smoothing_hint=False)
        storage.put_scalars(time=0.5, data_time=0.1)
        printer.write()
    for words in (
        "epoch 2/10  iter 20/100  loss 2.500",
        "sa [ce 1.25, tri 0.50, acc 0.75, w 0.10]",
        "lr 8.00e-03  128.0 images/s  data 20%  eta 0:00:40",
        "GiB",
    ):
        assert words in caplog.text
