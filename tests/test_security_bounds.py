import re
import runpy
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).parents[1]
BOUNDS = re.findall(r"^\| `(.+?)` \|", (REPOSITORY / "SECURITY.md").read_text().partition("## Dependencies")[2], re.M)


@pytest.fixture
def requirements(monkeypatch):
    """What setup.py asks for, with every extra."""
    given = {}
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))
    runpy.run_path(str(REPOSITORY / "setup.py"))
    return {*given["install_requires"], *(each for extra in given["extras_require"].values() for each in extra)}


def test_setup_reads_utf_8_whatever_a_system_writes(monkeypatch):
    read, given = Path.read_text, {}
    monkeypatch.setattr(Path, "read_text", lambda path, encoding="ascii": read(path, encoding))
    monkeypatch.setattr(setuptools, "setup", lambda **arguments: given.update(arguments))
    runpy.run_path(str(REPOSITORY / "setup.py"))
    assert given["long_description"] == read(REPOSITORY / "README.md", "utf-8")


@pytest.mark.parametrize(
    ("platform", "expected"),
    [("linux", {"1.8.0", "1.13.2", "1.15.0"}), ("darwin", {"1.15.0"}), ("win32", {"1.8.0", "1.13.2", "1.15.0"})],
)
def test_faiss_has_mapped_files(platform, expected, requirements):
    """On macOS it got them later than elsewhere."""
    bounds = [Requirement(each) for each in requirements if each.startswith("faiss-cpu")]
    asked = [
        each.specifier for each in bounds if each.marker is None or each.marker.evaluate({"sys_platform": platform})
    ]
    versions = {"1.7.4", "1.8.0", "1.13.2", "1.15.0"}
    assert {version for version in versions if all(version in each for each in asked)} == expected


def test_the_table_is_found():
    assert len(BOUNDS) >= 10


@pytest.mark.parametrize("bound", BOUNDS)
def test_setup_has_the_bounds_that_are_promised(bound, requirements):
    assert bound in requirements


@pytest.mark.parametrize("bound", BOUNDS)
def test_what_is_installed_is_within_the_bounds(bound):
    requirement = Requirement(bound)
    if requirement.marker and not requirement.marker.evaluate():
        pytest.skip("for another Python")
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        pytest.skip("of an extra that is not installed")
    assert requirement.specifier.contains(installed, prereleases=True)
