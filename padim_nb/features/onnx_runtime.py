"""EfficientNet-Lite through ONNX Runtime, where the extra `onnx` is installed: faster than torch on an x86 processor.

`PADIM_NB_FEATURES=torch` turns it off.
"""

from __future__ import annotations

import operator
import os
import platform
from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, fx, nn

Weights = list[tuple[int, int]]  # where each tensor lies, and how often it was changed there
_one_at_a_time = Lock()  # of threads that ask for the same session; tracing changes how every module is called
_sessions: WeakKeyDictionary[nn.Module, tuple[Weights, Any]] = WeakKeyDictionary()


def session(network: nn.Module, x: Tensor) -> Any:
    """An `onnxruntime.InferenceSession` from the input "x" to a network's feature maps, each computed by one thread.

    It is built in about 30 ms, and anew where the weights have changed.

    Args:
        network: an EfficientNet-Lite without batch norm, as `backbones.folded` makes it.
        x: the input (n, 3, height, width).

    Returns:
        None where torch is to compute: on a GPU, in another precision, on other processors, without onnxruntime, and
        for weights made in inference mode, whose changes are not counted.
    """
    tensors = list(network.parameters())
    plain = all(t.device.type == "cpu" and t.dtype == torch.float32 for t in (x, *tensors))
    plain = plain and platform.machine() in ("x86_64", "AMD64") and not any(t.is_inference() for t in tensors)
    if os.environ.get("PADIM_NB_FEATURES") == "torch" or not plain:
        return None
    weights = [(t.data_ptr(), t._version) for t in tensors]
    with _one_at_a_time:
        if network not in _sessions or _sessions[network][0] != weights:
            _sessions[network] = weights, _build(network)
        return _sessions[network][1]


def _build(network: nn.Module) -> Any:
    try:
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        return None
    modules = dict(network.named_modules())
    constants = {"zero": torch.tensor(0.0), "six": torch.tensor(6.0)}
    nodes = []
    name: dict[fx.Node, str] = {}
    for node in _Tracer().trace(network).nodes:
        name[node] = node.name
        inputs = [name[argument] for argument in node.all_input_nodes]
        module = modules.get(str(node.target))
        if isinstance(module, nn.Conv2d):
            constants |= {f"{node.name}.{key}": tensor for key, tensor in module.named_parameters()}
            inputs += [f"{node.name}.{key}" for key, _ in module.named_parameters()]
            how: dict[str, Any] = {"strides": module.stride, "group": module.groups, "auto_pad": "SAME_UPPER"}
            nodes.append(helper.make_node("Conv", inputs, [node.name], **how))
        elif isinstance(module, nn.ReLU6):
            nodes.append(helper.make_node("Clip", [*inputs, "zero", "six"], [node.name]))
        elif isinstance(module, nn.Identity):
            name[node] = inputs[0]
        elif node.target == operator.add:
            nodes.append(helper.make_node("Add", inputs, [node.name]))
        elif node.op == "output":
            outputs = [helper.make_tensor_value_info(key, TensorProto.FLOAT, None) for key in inputs]
        elif node.op != "placeholder":
            raise TypeError(f"no ONNX node is known for {node.target}")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "height", "width"])
    arrays = [numpy_helper.from_array(tensor.detach().numpy(), key) for key, tensor in constants.items()]
    graph = helper.make_graph(nodes, type(network).__name__, [x], outputs, arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, nn.Conv2d) or super().is_leaf_module(m, module_qualified_name)
