"""A CUDA device that is not there: its tensors are computed on the CPU and obey CUDA's rules about devices.

    with emulated_cuda(monkeypatch) as cuda:
        detector = recipe("padim-lite0", device="cuda").fit(samples)
    print(cuda.reads, cuda.uploads, cuda.downloads)

A tensor is on the device where its storage was marked; views and parameters share storages, so they follow. What CUDA
would refuse is refused with its words: tensors of two devices in one operation, a generator of the other device,
`numpy()`. What costs is counted by the line of the package that asked for it: reads that wait for the device, copies
each way. A graph records operations without taking effect and does them again on the tensors of the recording; what
cannot be recorded is refused. Not emulated: kernels' own limits, memory, streams, and what happens inside torch's own
functions.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace
from typing import ClassVar

import pytest
import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda", 0)
WAITING = {
    "item", "tolist", "__bool__", "__float__", "__int__", "__index__", "nonzero", "masked_select", "unique", "equal",
    "allclose", "bincount", "__contains__", "__format__",
}  # fmt: skip
TO_NUMPY = {"numpy", "__array__"}
HOST_RESULT = {"tolist", "size", "dim", "numel", "stride", "__len__"}


class CudaRules(TorchFunctionMode):
    """Every call of torch from Python passes through here."""

    _marked: ClassVar[dict[int, StorageWeakRef]] = {}  # of all emulations: the package caches constants on a device

    def __init__(self) -> None:
        super().__init__()
        self.reads: Counter[str] = Counter()
        self.uploads: Counter[str] = Counter()
        self.downloads: Counter[str] = Counter()
        self.operations = 0

    def is_on(self, x: object) -> bool:
        """Whether x is a tensor on the device."""
        if not isinstance(x, Tensor):
            return False
        ref = self._marked.get(x.untyped_storage()._cdata)
        return ref is not None and not ref.expired()

    def mark(self, x: Tensor) -> Tensor:
        """Put the storage of x on the device."""
        if len(self._marked) > 10_000:
            for key in [key for key, ref in self._marked.items() if ref.expired()]:
                del self._marked[key]
        storage = x.untyped_storage()
        self._marked[storage._cdata] = StorageWeakRef(storage)
        return x

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        if name in ("__get__", "__set__"):
            return self._attribute(func, name, args)
        if name in ("to", "cpu", "cuda", "pin_memory") and isinstance(args[0], Tensor):
            return self._moved(args[0], name, args[1:], kwargs)
        tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        on = [x for x in tensors if self.is_on(x)]
        device = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
        result_on = bool(on) if device is None else device.type == "cuda"
        if on:
            self.operations += 1
            self._check(name, args, tensors, on)
        self._check_generator(kwargs.get("generator"), result_on)
        if result_on and device is not None:
            kwargs["device"] = "cpu"
            if name in ("tensor", "as_tensor"):
                self.uploads[_line()] += 1
        result = func(*args, **kwargs)
        if result_on and name not in HOST_RESULT:
            shared = {x.untyped_storage()._cdata for x in tensors if not self.is_on(x)}
            for x in tree_leaves(result):
                if isinstance(x, Tensor) and x.untyped_storage()._cdata not in shared:
                    self.mark(x)
        return result

    def _check(self, name: str, args: tuple, tensors: list[Tensor], on: list[Tensor]) -> None:
        if name in TO_NUMPY:
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        if name in WAITING or (name == "where" and len(tensors) == 1):
            self.reads[_line()] += 1
        if name in ("__getitem__", "__setitem__"):
            self._check_index(name, args)
        elif name == "copy_":
            if len(on) < len(tensors):
                (self.uploads if self.is_on(args[0]) else self.downloads)[_line()] += 1
        elif name not in ("backward", "_has_compatible_shallow_copy_type"):
            strangers = [x for x in tensors if not self.is_on(x)]
            in_place = name.endswith("_") and not name.endswith("__") and not name.startswith("_foreach")
            if any(x.dim() for x in strangers) or (in_place and strangers and strangers[0] is args[0]):
                raise RuntimeError(f"Expected all tensors to be on the same device, but found cuda:0 and cpu in {name}")

    def _check_index(self, name: str, args: tuple) -> None:
        for index in tree_leaves(args[1]):
            if isinstance(index, Tensor):
                if not self.is_on(args[0]):
                    raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor")
                if index.dtype in (torch.bool, torch.uint8):
                    self.reads[_line()] += 1
                elif not self.is_on(index):
                    self.uploads[_line()] += 1
        if name == "__setitem__" and isinstance(args[2], Tensor) and self.is_on(args[2]) != self.is_on(args[0]):
            (self.uploads if self.is_on(args[0]) else self.downloads)[_line()] += 1

    def _check_generator(self, generator: torch.Generator | None, result_on: bool) -> None:
        if generator is not None and (generator.device.type == "cuda") != result_on:
            expected = "cuda" if result_on else "cpu"
            raise RuntimeError(f"Expected a '{expected}' device type for generator but found '{generator.device.type}'")

    def _attribute(self, func, kind: str, args: tuple):
        name, x = func.__self__.__name__, args[0]
        if not self.is_on(x) or kind == "__set__":
            return func(*args)
        if name in ("device", "is_cuda", "is_cpu"):
            return {"device": CUDA, "is_cuda": True, "is_cpu": False}[name]
        value = func(*args)
        return self.mark(value) if isinstance(value, Tensor) else value

    def _moved(self, x: Tensor, name: str, args: tuple, kwargs: dict) -> Tensor:
        if name == "pin_memory":
            return x.clone()
        if name == "to" and args and isinstance(args[0], Tensor):
            args = (torch.device("cuda" if self.is_on(args[0]) else "cpu"), args[0].dtype, *args[1:])
        copy = kwargs.pop("copy", False)
        device, dtype, _, memory_format = torch._C._nn._parse_to(*args, **kwargs) if name == "to" else (None,) * 4
        device = {"cpu": torch.device("cpu"), "cuda": CUDA}.get(name, device)
        if device is not None and device.type == "meta":
            return x.to(device, dtype or x.dtype)
        form = {} if memory_format is None else {"memory_format": memory_format}
        here = self.is_on(x)
        result = x.to(dtype=dtype or x.dtype, copy=copy, **form)
        if device is None or (device.type == "cuda") == here:
            return self.mark(result) if here else result
        (self.downloads if here else self.uploads)[_line()] += 1
        result = result.clone() if result is x else result
        return result if here else self.mark(result)


def _line() -> str:
    """Where the package (or the test) called."""
    frame = sys._getframe(2)
    while frame.f_back is not None and not (
        "padim_nb" in frame.f_code.co_filename or "test_" in frame.f_code.co_filename
    ):
        frame = frame.f_back
    path = frame.f_code.co_filename.replace("\\", "/").split("/")
    return f"{'/'.join(path[-2:])}:{frame.f_lineno} {frame.f_code.co_name}"


class RecordedGraph(TorchDispatchMode):
    """torch.cuda.CUDAGraph and, as a context, torch.cuda.graph."""

    def __init__(self, rules: CudaRules) -> None:
        super().__init__()
        self.rules, self.generators, self.operations, self.overwritten = rules, [], [], []

    def register_generator_state(self, generator: torch.Generator) -> None:
        self.generators.append(generator)

    def __enter__(self):
        self.states, self.waits = [generator.get_state() for generator in self.generators], self._waits()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        with torch._C.DisableTorchFunction(), torch.no_grad():
            for x, value in reversed(self.overwritten):
                x.copy_(value)
        for generator, state in zip(self.generators, self.states, strict=True):
            generator.set_state(state)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default or self._waits() != self.waits:
            raise RuntimeError("operation not permitted when stream is capturing")
        rng = kwargs.get("generator")
        if rng and not any(torch.equal(rng.get_state(), each.get_state()) for each in self.generators):
            raise RuntimeError("Attempt to increase offset for a CUDA generator not in capture mode")
        written = [x for x, argument in zip(args, func._schema.arguments, strict=False) if argument.is_write]
        with torch._C.DisableTorchFunction():
            self.overwritten += [(x, x.clone()) for x in tree_leaves(written)]
            result = func(*args, **kwargs)
        self.operations.append((func, args, kwargs, result))
        return result

    def replay(self) -> None:
        with torch._C.DisableTorchFunction(), torch.no_grad():
            for func, args, kwargs, result in self.operations:
                for x, new in zip(tree_leaves(result), tree_leaves(func(*args, **kwargs)), strict=True):
                    if isinstance(x, Tensor) and x.data_ptr() != new.data_ptr():
                        x.copy_(new)

    def _waits(self) -> int:
        rules = self.rules
        return sum((rules.reads + rules.uploads + rules.downloads).values())


class _Generator(torch._C.Generator):
    def __new__(cls, device: str | torch.device = "cpu") -> _Generator:
        self = super().__new__(cls, "cpu")
        self.kind = torch.device(device)
        return self

    def __init__(self, device: str | torch.device = "cpu") -> None:
        pass

    @property
    def device(self) -> torch.device:
        return self.kind


class _Autocast(torch.amp.autocast_mode.autocast):
    def __init__(self, device_type: str, *args: object, **kwargs: object) -> None:
        super().__init__("cpu", *args, **kwargs)


@contextmanager
def emulated_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[CudaRules]:
    """A CUDA device as long as the context lasts, in threads too.

    Yields:
        The rules, with the counts.
    """
    rules = CudaRules()
    run = threading.Thread.run

    def in_thread(thread: threading.Thread) -> None:
        with rules:
            run(thread)

    facts = SimpleNamespace(name="emulated", total_memory=80 << 30, major=9, minor=0, multi_processor_count=100)
    with monkeypatch.context() as patch:
        cuda = {
            "is_available": lambda: True,
            "device_count": lambda: 1,
            "current_device": lambda: 0,
            "is_initialized": lambda: True,
            "_lazy_init": lambda: None,
            "device": lambda _: nullcontext(),
            "synchronize": lambda *_: None,
            "get_device_name": lambda *_: "emulated",
            "get_device_properties": lambda *_: facts,
            "get_device_capability": lambda *_: (9, 0),
            "is_bf16_supported": lambda **_: True,
            "mem_get_info": lambda *_: (80 << 30, 80 << 30),
            "max_memory_allocated": lambda *_: 0,
            "reset_peak_memory_stats": lambda *_: None,
            "empty_cache": lambda: None,
            "CUDAGraph": lambda: RecordedGraph(rules),
            "graph": lambda graph, **_: graph,
            "Stream": lambda: stream,
            "stream": lambda _: nullcontext(),
            "current_stream": lambda: stream,
        }
        stream = SimpleNamespace(is_capturing=lambda: False, wait_stream=lambda _: None)
        for name, value in cuda.items():
            patch.setattr(torch.cuda, name, value)
        groups = torch.optim.Optimizer._group_tensors_by_device_and_dtype  # of the devices that C++ sees

        def grouped(*args):
            return {(value[0][0][0].device, dtype): value for (_, dtype), value in groups(*args).items()}

        patch.setattr(torch.optim.Optimizer, "_group_tensors_by_device_and_dtype", staticmethod(grouped))
        patch.setattr(torch.accelerator, "current_stream", lambda *_: stream)
        patch.setattr(torch, "Generator", _Generator)
        patch.setattr(torch, "autocast", _Autocast)
        patch.setattr(threading.Thread, "run", in_thread)
        with rules:
            yield rules
