"""TensorRT over memory of the host: plans whose every bucket runs a given function, captured as graphs."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

__version__ = "10.16.1.11"
BUCKETS = (1, 16)
SHAPE: tuple[int, ...] = ()
DIM = 0
cupy: Any = None
run: Callable[[np.ndarray], np.ndarray] = np.asarray

TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
DataType = SimpleNamespace(FLOAT="float", HALF="half")


class Logger:
    WARNING = 1

    def __init__(self, level: int) -> None: ...


class Context:
    def __init__(self) -> None:
        self.addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.bucket = BUCKETS[profile]
        return stream != 0

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        return shape == (self.bucket, *SHAPE)

    def get_tensor_shape(self, name: str) -> tuple[int, int]:
        return (self.bucket, DIM)

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream: int) -> bool:
        cupy.Stream.enqueued = self.execute
        self.execute()
        return True

    def execute(self) -> None:
        pixels = cupy.at_address(self.addresses["pixels"], (self.bucket, *SHAPE), np.float32)
        cupy.at_address(self.addresses["rows"], (self.bucket, DIM), np.float32)[...] = run(np.nan_to_num(pixels))


class Engine:
    num_io_tensors, num_optimization_profiles = 2, len(BUCKETS)

    def get_tensor_name(self, i: int) -> str:
        return ("pixels", "rows")[i]

    def get_tensor_mode(self, name: str) -> str:
        return {"pixels": "in", "rows": "out"}[name]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(BUCKETS[profile], *SHAPE)] * 3

    def get_tensor_dtype(self, name: str) -> str:
        return "float"

    def create_execution_context(self) -> Context:
        return Context()


class Runtime:
    def __init__(self, logger: Logger) -> None: ...

    def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
        return Engine() if plan == b"plan" else None
