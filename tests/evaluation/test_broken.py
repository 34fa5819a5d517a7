import logging

import torch
import torch.distributed as dist
from helpers.forks import run_ranks

from dcal_reid.evaluation.broken import warn_of_broken

# What each of two processes has found; loaders pad, so both may find the same file.
FOUND = [(["c.jpg", "b.jpg"], ["b.jpg", "a.jpg", "d.jpg"]), ([], ["e.jpg"]), ([], [])]


def worker(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    logging.basicConfig(filename=f"{folder}/{rank}.log", format="%(message)s", force=True)
    for paths in FOUND:
        warn_of_broken(paths[rank])
    dist.destroy_process_group()


def test_the_main_process_tells_once_what_all_have_found(tmp_path):
    run_ranks(worker, (str(tmp_path),), 2)
    assert (tmp_path / "0.log").read_text().splitlines() == [
        "4 test images cannot be decoded and are left out: a.jpg, b.jpg, c.jpg, ...",
        "1 test images cannot be decoded and are left out: e.jpg",
    ]
    assert not (tmp_path / "1.log").read_text()


def test_nothing_is_told_where_nothing_is_broken(caplog):
    warn_of_broken(set())
    assert not caplog.messages


def test_a_file_name_that_is_not_utf8_can_be_logged(tmp_path):
    logger, handler = logging.getLogger("dcal_reid"), logging.FileHandler(tmp_path / "log.txt", encoding="utf-8")
    logger.addHandler(handler)
    warn_of_broken({"Stra\udcdfe.jpg"})
    handler.close()
    told = (tmp_path / "log.txt").read_text(encoding="utf-8")
    assert told == "1 test images cannot be decoded and are left out: Stra?e.jpg\n"
