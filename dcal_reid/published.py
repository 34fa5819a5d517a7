"""The paper's figures for a configuration, read from the first line of its file."""

import os
import re
from collections.abc import Sequence

__all__ = ["published"]

_NAMES = {"mAP": "mAP", "rank-1": "Rank-1", "top-1": "Top-1"}
# If an override changes one of these keys, the paper's figures no longer apply.
_DECIDE = {
    "DATASETS.NAMES", "DATASETS.TESTS", "DATASETS.HOLD_OUT", "MODEL.BACKBONE.TIMM_MODEL", "MODEL.DCAL.INFERENCE",
    "TEST.RERANK.ENABLED", "TEST.AQE.ENABLED",
}  # fmt: skip
_FIGURE = re.compile(rf"({'|'.join(_NAMES)}) (\d+\.\d)")


def published(config_file: str | os.PathLike, overrides: Sequence[str] = ()) -> dict[str, float]:
    """The metrics in percent, by name; empty for "" and for a configuration for which the paper has no figures.

    Args:
        config_file: path of the configuration.
        overrides: KEY VALUE ... If one changes what is trained or tested, there are no figures.
    """
    if not config_file or _DECIDE.intersection(overrides[::2]):
        return {}
    with open(config_file) as file:
        _, _, figures = file.readline().partition("paper")
    return {_NAMES[name]: float(value) for name, value in _FIGURE.findall(figures)}
