"""Measured comparisons: ours and the other side in one run, with the ratio. ``tools/benchmark.py`` runs them."""
