#!/usr/bin/env python
"""Train or evaluate a model.

python tools/train_net.py --config-file configs/veri/dcal_vitb.yml [--resume] [--num-gpus N] [KEY VALUE ...]
python tools/train_net.py --config-file configs/veri/dcal_vitb.yml --eval-only MODEL.WEIGHTS model.pth
"""

from dcal_reid.engine import argument_parser, main
from dcal_reid.errors import exit_on_input_error

if __name__ == "__main__":
    exit_on_input_error(main, argument_parser().parse_args())
