"""The environment that make creates."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def make_env(tmp_path):
    """A function that makes the environment ``tmp_path / "venv"`` with a program in place of Python."""

    def run(python):
        variables = [f"PYTHON={python}", f"VENV={tmp_path / 'venv'}"]
        return subprocess.run(["make", "-C", REPOSITORY, *variables, "env"], capture_output=True, text=True)

    return run


def program(path, script):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def old_python(path):
    pretend = 'import sys; sys.version_info, sys.version = (3, 9, 18), "3.9.18 (main)"; exec(sys.argv[2])'
    return program(path, f"exec {sys.executable} -c '{pretend}' \"$@\"")


def test_an_old_python_makes_no_environment(make_env, tmp_path):
    result = make_env(old_python(tmp_path / "python3"))
    assert result.returncode == 2 and "error: Python 3.11 or later is needed" in result.stderr
    assert "is 3.9.18; remove" in result.stderr and not (tmp_path / "venv").exists()


def test_the_environment_of_an_old_python_is_told(make_env, tmp_path):
    old_python(tmp_path / "venv" / "bin" / "python")
    result = make_env(sys.executable)
    assert result.returncode == 2 and f"remove {tmp_path / 'venv'} if it is there" in result.stderr


def test_an_environment_that_was_half_made_is_completed(make_env, tmp_path):
    """Debian's Python has no pip for an environment until python3-venv is installed."""
    python = program(tmp_path / "venv" / "bin" / "python", "exit 0")
    pip = python.with_name("pip")
    result = make_env(program(tmp_path / "python3", f'[ "$2" = venv ] && cp {python} {pip}'))
    assert result.returncode == 0 and (tmp_path / "venv" / "installed").is_file(), result.stderr
