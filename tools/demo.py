#!/usr/bin/env python
"""Train DCAL on a small generated dataset, on the CPU in a few minutes, and compare it with the untrained model.

python tools/demo.py [KEY VALUE ...]
"""

from pathlib import Path

from dcal_reid.demo import run_demo
from dcal_reid.engine import argument_parser
from dcal_reid.errors import exit_on_input_error

if __name__ == "__main__":
    parser = argument_parser()
    parser.description = __doc__.splitlines()[0]
    parser.set_defaults(config_file=str(Path(__file__).resolve().parents[1] / "configs" / "demo" / "dcal.yml"))
    exit_on_input_error(run_demo, parser.parse_args())
