"""The values of configurations in tests."""

from dcal_reid.config import value_of


def flat(node, prefix=""):
    """Every key of a nested dict as a dotted path, with its value."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def differing(cfg, base):
    """The values of ``cfg`` that differ from those of ``base``, which has the same keys."""
    cfg, base = dict(flat(cfg)), dict(flat(base))
    assert cfg.keys() == base.keys()
    return {key: value for key, value in cfg.items() if value != base[key]}


def set_value(cfg, key, value):
    """Set a value of any type, which an override cannot do."""
    node, _, name = key.rpartition(".")
    (value_of(cfg, node) if node else cfg)[name] = value
