"""Measured comparisons: ours and the alternatives in one run, with their ratio. ``tools/benchmark.py`` runs them."""
