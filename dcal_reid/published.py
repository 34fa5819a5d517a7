"""The paper's figures for a configuration, which its first line names."""

import os
import re

__all__ = ["published"]

_NAMES = {"mAP": "mAP", "rank-1": "Rank-1", "top-1": "Top-1"}
_FIGURE = re.compile(rf"({'|'.join(_NAMES)}) (\d+\.\d)")


def published(config_file: str | os.PathLike) -> dict[str, float]:
    """The metrics in percent, by name; empty for "" and for a configuration that the paper has no figures for."""
    if not config_file:
        return {}
    with open(config_file) as file:
        _, _, figures = file.readline().partition("paper")
    return {_NAMES[name]: float(value) for name, value in _FIGURE.findall(figures)}
