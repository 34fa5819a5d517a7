"""The result of a check, as text and as JSON."""

from dataclasses import asdict, dataclass, field

from tabulate import tabulate

from ...text import printable
from .statistics import SplitStatistics

__all__ = ["DatasetCheck"]


@dataclass
class DatasetCheck:
    """The result of ``check_dataset``. ``problems`` are faults; ``notes`` are for information."""

    name: str
    root: str
    is_for_classes: bool = False
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    splits: dict[str, SplitStatistics] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    tree: str = ""
    source: str = ""

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict:
        """Everything, for JSON."""
        return {"ok": self.ok, **asdict(self)}

    def text(self) -> str:
        """Problems, notes, the table of the splits, the layout and the source, in this order."""
        verdict = "no problems" if self.ok else f"{len(self.problems)} problem{'s' * (len(self.problems) > 1)}"
        parts = [f"{self.name} in {self.root}: {verdict}"]
        if self.problems:
            parts.append("\n".join(f"- {problem}" for problem in self.problems))
        if self.notes:
            parts.append("Worth knowing:\n" + "\n".join(f"- {note}" for note in self.notes))
        if self.splits:
            parts.append(self.table())
        if self.tree:
            parts.append(f"Layout:\n{self.tree}")
        if self.source:
            parts.append(f"Source: {self.source}")
        return printable("\n\n".join(parts))

    def table(self) -> str:
        """A column for each split, and a row for each figure that at least one split has."""
        what = "classes" if self.is_for_classes else "identities"
        one = "class" if self.is_for_classes else "identity"
        figures = {
            "images": lambda split: split.images,
            "images, officially": lambda split: split.official_images,
            what: lambda split: split.identities,
            f"{what}, officially": lambda split: split.official_identities,
            "cameras": lambda split: split.cameras,
            "distractors": lambda split: split.distractors or None,
            f"images per {one}": lambda split: split.images_per_identity,
            f"{what} in one camera only": lambda split: split.one_camera_identities,
            "queries without a match in another camera": lambda split: split.queries_without_match,
            "width": lambda split: split.width,
            "height": lambda split: split.height,
            "broken images": lambda split: len(split.broken),
            "copies of a file of the same split": lambda split: split.identical_files,
        }
        rows = [[name, *map(figure, self.splits.values())] for name, figure in figures.items()]
        rows = [[name, *map(_cell, values)] for name, *values in rows if any(value is not None for value in values)]
        alignment = ["left", *["right"] * len(self.splits)]
        table = tabulate(rows, ["", *self.splits], tablefmt="pipe", disable_numparse=True, colalign=alignment)
        return f"{table}\n\n(of three numbers: smallest, median, largest)"


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:,}" if isinstance(value, int) else str(value)
