"""ONNX Runtime with a CUDA provider, on host memory: the real one on the CPU behind the interface of a bound session.

Addresses given to an IOBinding are read and written where they point, so a wrong address, type or shape shows. What was
asked for is kept: the provider's options, and the stream that was current at every run.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

PROVIDERS = ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"]


class Binding:
    def __init__(self) -> None:
        self.inputs: dict[str, tuple[Any, ...]] = {}
        self.outputs: dict[str, tuple[Any, ...]] = {}

    def bind_input(self, name: str, kind: str, device: int, dtype: Any, shape: Any, address: int) -> None:
        self.inputs[name] = (kind, device, dtype, tuple(shape), address)

    def bind_output(self, name: str, kind: str, device: int, dtype: Any, shape: Any, address: int) -> None:
        self.outputs[name] = (kind, device, dtype, tuple(shape), address)


class Session:
    """``onnxruntime.InferenceSession`` as far as the encoders use it."""

    cupy: Any = None
    real: Any = None  # the class it stands for
    left_to_cpu: tuple[str, ...] = ()

    def __init__(self, path: str, options: Any, providers: list[Any], enable_fallback: int = 1) -> None:
        assert enable_fallback == 0, "Python's own fallback to the CPU is on"
        self._session = self.real(path, options, providers=["CPUExecutionProvider"])
        self.providers = [name for name, _ in providers]
        self.options = dict(providers)
        self.batches: list[tuple[int, ...]] = []
        self.streams: list[int] = []

    def get_inputs(self) -> Any:
        return self._session.get_inputs()

    def get_outputs(self) -> Any:
        return self._session.get_outputs()

    def get_providers(self) -> list[str]:
        return [*self.providers, "CPUExecutionProvider"]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        def part(name: str, *kinds: str) -> Any:
            return SimpleNamespace(ep_name=name, get_nodes=lambda: [SimpleNamespace(op_type=kind) for kind in kinds])

        return [part(self.providers[0], "MatMul"), part("CPUExecutionProvider", "Shape", *self.left_to_cpu)]

    def io_binding(self) -> Binding:
        return Binding()

    def run_with_iobinding(self, binding: Binding) -> None:
        self.streams.append(self.cupy.cuda.get_current_stream().ptr)
        (name, given), (output, (*_, dtype, shape, address)) = *binding.inputs.items(), *binding.outputs.items()
        pixels = self.cupy.at_address(given[4], given[3], given[2])
        self.batches.append(pixels.shape)
        rows = self._session.run([output], {name: pixels})[0]
        assert rows.shape == shape and rows.dtype == np.dtype(dtype)
        self.cupy.at_address(address, shape, dtype)[...] = rows
