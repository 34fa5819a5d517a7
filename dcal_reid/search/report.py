"""The results of a search as a table, as JSON and as a picture."""

from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from ..evaluation.records import known
from ..text import printable, shortened
from .lookup import Found

__all__ = ["draw_found", "found_as_dict", "found_table"]

# Rows in a picture, and characters in a line of a caption.
_MAX_ROWS, _LINE = 50, 17
_NEUTRAL = "#555555"


def found_table(found: Found, threshold: float | None = None) -> str:
    """One row per item. Identities and cameras are left out if none is known."""
    columns = {"rank": range(1, len(found.ids) + 1), "path": [printable(path) for path in found.records.paths.tolist()]}
    for name, values in (("identity", found.records.identities), ("camera", found.records.cameras)):
        labels = [known(value) for value in values.tolist()]
        if any(label is not None for label in labels):
            columns[name] = labels
    columns["distance"] = [f"{distance:.4f}" for distance in found.distances]
    if threshold is not None:
        columns["match"] = ["match" if distance < threshold else "" for distance in found.distances]
    return tabulate(columns, headers="keys", tablefmt="github", disable_numparse=True)


def found_as_dict(found: Found, threshold: float | None = None) -> dict:
    """All results, ready for JSON; unknown identities and cameras are None, and so are matches without a threshold."""
    hits = []
    for row, distance in enumerate(found.distances.tolist()):
        hit = {"rank": row + 1, "id": int(found.ids[row]), "path": str(found.records.paths[row])}
        hit["identity"] = known(found.records.identities[row].item())
        hit["camera"] = known(found.records.cameras[row].item())
        hits.append(hit | {"distance": distance, "match": None if threshold is None else distance < threshold})
    return {"path": found.query, "hits": hits}


def draw_found(
    path: str | Path, found: Sequence[Found], *, size: tuple[int, int], threshold: float | None = None
) -> None:
    """One row per query: the query in a blue frame, then what was found; with a threshold, matches in green.

    Args:
        path: the picture to write; its suffix is the format.
        found: of at least one query; the first 50 are drawn.
        size: (height, width) that the model takes. Images are shown in this shape, at a resolution for viewing.
        threshold: items below this distance match; None: matches are not marked.

    Raises:
        InputError: an image that cannot be read.
    """
    # Imported here so that OpenCV and matplotlib are loaded only where pictures are drawn.
    from ..visualize.cells import QUERY, RIGHT, WRONG, Cell, ImageRows

    found = found[:_MAX_ROWS]
    legend = {QUERY: "query"}
    if threshold is None:
        legend[_NEUTRAL] = "nearest images of the gallery"
    else:
        legend |= {RIGHT: f"✓ match: distance below {threshold:.4g}", WRONG: "✗ no match"}
    columns = 1 + max(len(one.ids) for one in found)
    rows = ImageRows(len(found), columns, size=size, caption_lines=3, legend=legend)
    for row, one in enumerate(found):
        cells = []
        for rank, (image, distance) in enumerate(zip(one.records.paths, one.distances, strict=True), 1):
            mark, colour = f"{rank} ·", _NEUTRAL
            if threshold is not None:
                mark, colour = ("✓", RIGHT) if distance < threshold else ("✗", WRONG)
            labels = [known(column[rank - 1].item()) for column in (one.records.identities, one.records.cameras)]
            lines = [f"{mark} {distance:.3f}", *(shortened(str(label), _LINE) for label in labels if label is not None)]
            cells.append(Cell(image, colour, "\n".join(lines)))
        rows.draw(row, Path(one.query).name, Cell(one.query, QUERY, "query"), cells)
    rows.save(path)
