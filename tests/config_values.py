"""The values of configurations in tests."""


def flat(node, prefix=""):
    """Every key of a nested dict as a dotted path, with its value."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def differing(cfg, base):
    """What ``cfg`` has where ``base``, with the same keys, has something else."""
    cfg, base = dict(flat(cfg)), dict(flat(base))
    assert cfg.keys() == base.keys()
    return {key: value for key, value in cfg.items() if value != base[key]}
