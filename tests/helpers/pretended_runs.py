"""Ablation runs that a script fakes (see ``pretend``), and what they leave."""

import csv
from pathlib import Path

COMPLETE = "metrics(iteration=9, mAP=50.0 + int(sys.argv[-3])); final()\n"


def calls(args):
    """How often each run was called, by its folder."""
    folder = Path(args.output, args.group)
    return {str(p.parent.relative_to(folder)): len(p.read_text().splitlines()) for p in folder.rglob("calls")}


def table(args):
    with open(Path(args.output, args.group, "table.csv")) as file:
        return {row["variant"]: row for row in csv.DictReader(file)}
