"""tools/check_dataset.py from its command line to its exit status."""

import json
import os
import re
import runpy
from pathlib import Path

import pytest
from helpers.forks import fork

from dcal_reid.errors import InputError, exit_on_input_error

TOOL_FILE = Path(__file__).parents[2] / "tools" / "check_dataset.py"
TOOL = runpy.run_path(str(TOOL_FILE))


def run(*command):
    with pytest.raises(SystemExit) as ended:
        TOOL["run"](TOOL["parser"]().parse_intermixed_args(list(command)))
    return ended.value.code


def test_sound_images(crops, capsys, tmp_path):
    target = tmp_path / "check.json"
    assert run("csvreid", "--workers", "0", "--json", str(target), "DATASETS.CSV.PATH", "labels.csv") == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"CSVReID in {crops}: no problems\n")
    found = json.loads(target.read_text())
    assert found["ok"] and found["splits"]["train"]["images"] == 24
    assert [found["splits"][split]["identities"] for split in ("train", "query", "gallery")] == [6, 4, 4]


def test_problems_come_first_and_the_exit_status_is_1(crops, capsys):
    (crops / "7_1_0.png").write_bytes(b"no image")
    assert run("CSVReID", "--fast", "--workers", "0", "DATASETS.CSV.PATH", "labels.csv") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("1 problem") and lines[2].startswith("- broken images in gallery: 1 of 12: image")


def test_wrong_commands(crops, tmp_path):
    parse = TOOL["parser"]().parse_intermixed_args
    with pytest.raises(InputError, match="did you mean CSVReID"):
        TOOL["run"](parse(["CSVRied"]))
    with pytest.raises(InputError, match="there is no folder"):
        TOOL["run"](parse(["CSVReID", "--json", str(tmp_path / "no" / "check.json")]))
    with pytest.raises(InputError, match="--workers is -1"):
        TOOL["run"](parse(["CSVReID", "--workers", "-1", "DATASETS.CSV.PATH", "labels.csv"]))
    with pytest.raises(InputError, match=r"did you mean DATASETS\.CSV\.PATH"):
        TOOL["run"](parse(["CSVReID", "DATASETS.CSV.PAHT", "labels.csv"]))


def test_a_file_that_cannot_be_written(crops, tmp_path, monkeypatch, capsys):
    (tmp_path / "check.json").mkdir()
    # It is reported before the images are read.
    monkeypatch.setattr("dcal_reid.data.check.check.examine_files", None)
    command = ["CSVReID", "--fast", "--workers", "0", "--json", str(tmp_path / "check.json")]
    args = TOOL["parser"]().parse_intermixed_args([*command, "DATASETS.CSV.PATH", "labels.csv"])
    with pytest.raises(SystemExit, match=r"^2$"):
        exit_on_input_error(TOOL["run"], args)
    assert re.match(r"error: '.*/check\.json' cannot be written or read: Is a directory$", capsys.readouterr().err)


def test_a_pipe_that_nobody_reads_any_more_ends_it_without_a_word(crops, tmp_path):
    """As in ``tools/check_dataset.py ... | head``."""
    pipe, errors = tmp_path / "pipe", tmp_path / "errors"
    os.mkfifo(pipe)
    command = [TOOL_FILE, "CSVReID", "--fast", "--workers", "0", "DATASETS.CSV.PATH", "labels.csv"]
    process = fork(command, output=pipe, errors=errors)
    open(pipe).close()  # once the other end is open
    process.join(60)
    assert process.exitcode == 141 and "Traceback" not in errors.read_text()
