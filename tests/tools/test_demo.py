"""tools/demo.py as it is called."""

import re
import runpy
import sys
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "demo.py"


def test_its_config_is_found_from_any_folder(tmp_path, monkeypatch, capsys):
    """The error comes after the file was read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(TOOL), "NO.KEY", "1"])
    with pytest.raises(SystemExit, match=r"^2$"):
        runpy.run_path(str(TOOL), run_name="__main__")
    assert re.match(r"error: .*there is no key NO\.KEY", capsys.readouterr().err)
