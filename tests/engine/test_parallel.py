"""What one process sees; several are started in test_launch.py."""

import torch

from dcal_reid.engine.parallel import distributed, share_buffers, without_wrapper


def test_one_process_has_the_model_as_it_is(tiny_cfg):
    model = torch.nn.BatchNorm1d(3)
    assert distributed(tiny_cfg, model) is without_wrapper(model) is model
    share_buffers(model)
