import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper


@pytest.fixture
def mean_colour(tmp_path):
    """A function (size, resize, crop) that writes a model whose features are the mean colours of the images."""

    def write(size, resize, crop, **metadata):
        nodes = [
            helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["pixels", "axes"], ["features"], keepdims=0),
        ]
        graph = helper.make_graph(
            nodes,
            "mean_colour",
            [helper.make_tensor_value_info("images", TensorProto.UINT8, ["batch", 3, *size])],
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 3])],
            [onnx.numpy_helper.from_array(np.array([2, 3]), "axes")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
        settings = {"resize": json.dumps(resize), "crop": json.dumps(crop)}
        helper.set_model_props(model, {"dcal_reid": "1", "fingerprint": "0" * 16} | settings | metadata)
        path = tmp_path / "mean_colour.onnx"
        onnx.save(model, path)
        return path

    return write
