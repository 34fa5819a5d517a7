"""What the documents name exists."""

import re
from pathlib import Path

import pytest

from dcal_reid.ablation import variants

REPOSITORY = Path(__file__).parents[1]
DOCUMENTS = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(document):
    named = re.findall(r"`((?:configs|tools|docs|dcal_reid|datasets|tests)/[\w/.]+\.\w+)`", document.read_text())
    assert [name for name in named if not (REPOSITORY / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_groups_of_ablations_exist(document):
    for group in re.findall(r"tools/ablate\.py (\w+)", document.read_text()):
        assert variants(group)


@pytest.mark.parametrize("document", ["fastreid", "reliability"])
def test_the_tests_named_for_faults_exist(document):
    text = (REPOSITORY / "docs" / f"{document}.md").read_text()
    named = re.findall(r"`((?:\w+/)*test_\w+\.py)(?:::(\w+))?`", text)
    assert len(named) > 15
    for file, test in named:
        source = (REPOSITORY / "tests" / file).read_text()
        assert f"def {test}(" in source or not test, f"{file}::{test}"
