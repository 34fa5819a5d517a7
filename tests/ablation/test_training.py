import os
import signal
from pathlib import Path

import pytest
from helpers.pretended_runs import COMPLETE, calls

from dcal_reid.ablation import run_group
from dcal_reid.errors import InputError


def test_a_failed_run_is_told_and_the_others_go_on(args, pretend, capsys):
    pretend(
        "if 'stacked' in str(folder) and sys.argv[-3] == '0': sys.exit('first\\nerror: no such file')\n" + COMPLETE,
    )
    with pytest.raises(SystemExit) as stop:
        run_group(args)
    assert stop.value.code == 1
    out = capsys.readouterr().out
    log = Path(args.output, "glca_input", "stacked", "seed0", "console.txt")
    assert f"[2/4] stacked, seed 0: FAILED with status 1, see {log}: error: no such file  in 0:00:0" in out
    assert log.read_text() == "first\nerror: no such file\n"
    rows = [[cell.strip() for cell in line.split("|")[1:6]] for line in out.splitlines() if line.startswith("| ")]
    assert rows[1:] == [["parallel", "50.50", "0.71", "50.00", "51.00"], ["stacked", "51.00", "-", "-", "51.00"]]

    pretend(COMPLETE)
    run_group(args)
    assert "3 of 4 runs are complete\n[1/1] stacked, seed 0: mAP 50.0" in capsys.readouterr().out
    assert calls(args) == {"parallel/seed0": 1, "parallel/seed1": 1, "stacked/seed0": 2, "stacked/seed1": 1}


def test_a_run_without_the_metrics_of_its_end_has_failed(args, pretend, capsys):
    pretend("final()\n")
    with pytest.raises(SystemExit):
        run_group(args)
    out = capsys.readouterr().out
    assert out.count("FAILED, no metrics of the last epoch; remove ") == 4
    assert "no run is complete, so there is no table" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_it_was_saved(args, pretend, capsys, request, number):
    """The signal reaches only the parent, but the run must not survive it."""
    # Background jobs of a shell start with SIGINT ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))
    pretend(
        "if 'stacked' in str(folder):\n"
        "    def save(number, frame):\n"
        "        time.sleep(1)\n"
        "        (folder / 'saved').touch()\n"
        "        sys.exit(128 + number)\n"
        "    signal.signal(signal.SIGTERM, save)\n"
        f"    os.kill(os.getppid(), {int(number)})\n"
        "    time.sleep(60)\n" + COMPLETE
    )
    with pytest.raises(SystemExit) as stop:
        run_group(args)
    assert stop.value.code == 130
    assert capsys.readouterr().err == "\nstopped; run the same command again to continue\n"
    assert Path(args.output, "glca_input", "stacked", "seed0", "saved").exists()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    pretend(COMPLETE)
    run_group(args)
    assert calls(args) == {"parallel/seed0": 1, "parallel/seed1": 1, "stacked/seed0": 2, "stacked/seed1": 1}


def test_a_run_that_does_not_end_is_killed(args, pretend, monkeypatch):
    monkeypatch.setattr("dcal_reid.ablation.training._PATIENCE", 0.5)
    pretend(
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "(folder / 'pid').write_text(str(os.getpid()))\n"
        f"os.kill(os.getppid(), {int(signal.SIGTERM)})\n"
        "time.sleep(60)\n"
    )
    with pytest.raises(SystemExit):
        run_group(args)
    [pid] = [int(path.read_text()) for path in Path(args.output).rglob("pid")]
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_missing_data_set_is_told_once_before_anything_runs(args, pretend, tmp_path):
    (tmp_path / "labels.csv").unlink()
    with pytest.raises(InputError, match=r"labels\.csv.* not found; DATASETS.CSV.PATH"):
        run_group(args)
    assert not list(tmp_path.glob("logs/**/console.txt"))


def test_jobs_run_side_by_side(args, pretend, capsys):
    """The second run writes what the first waits for."""
    pretend(
        "other = folder.parents[1] / 'stacked' / 'seed0' / 'here'\n"
        "if 'stacked' in str(folder): (folder / 'here').touch()\n"
        "if 'parallel/seed0' in str(folder):\n"
        "    while not other.is_file(): time.sleep(0.01)\n"
        "    time.sleep(0.2)\n" + COMPLETE
    )
    args.jobs = 2
    run_group(args)
    out = capsys.readouterr().out
    assert out.startswith("0 of 4 runs are complete\n[1/4] stacked, seed 0: mAP 50.0") and "[4/4]" in out
    assert calls(args) == dict.fromkeys(("parallel/seed0", "parallel/seed1", "stacked/seed0", "stacked/seed1"), 1)


def test_what_is_complete_needs_no_data_set(args, pretend, tmp_path, capsys):
    pretend(COMPLETE)
    run_group(args)
    (tmp_path / "labels.csv").unlink()
    run_group(args)
    assert "4 of 4 runs are complete" in capsys.readouterr().out
    assert set(calls(args).values()) == {1}
