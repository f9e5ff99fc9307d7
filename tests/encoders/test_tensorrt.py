"""The TensorRT encoder without TensorRT: batches, files, refusals, and the runner over a stand-in of both libraries."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fastconcept.encoders.tensorrt.encoder import TensorRTEncoder, split_batches
from fastconcept.encoders.tensorrt.plans import read_plan
from fastconcept.errors import BundleError, DeviceError, InputError, MissingDependencyError

BUCKETS, SIDE, DIM = (1, 4), 8, 5


@pytest.mark.parametrize("buckets", [(1,), (1, 64), (3, 7, 20)])
def test_batches_hold_every_image_once(buckets: tuple[int, ...]) -> None:
    for count in range(70):
        batches = split_batches(count, buckets)
        assert sum(images for images, _ in batches) == count
        assert all(0 < images <= size and size in buckets for images, size in batches)


def write_plan(folder: Path, plan: bytes = b"plan", **changes: object) -> Path:
    path = folder / "a.plan"
    path.write_bytes(plan)
    facts = {"sha256": hashlib.sha256(plan).hexdigest(), "tensorrt": "10.16.1.11", "compute_capability": "90"}
    path.with_name("a.plan.json").write_text(json.dumps({**facts, **changes}))
    return path


def test_a_plan_is_read_with_its_notes(tmp_path: Path) -> None:
    plan, facts = read_plan(write_plan(tmp_path))
    assert plan == b"plan" and facts["compute_capability"] == "90"


def test_damage_is_named(tmp_path: Path) -> None:
    path = write_plan(tmp_path)
    path.write_bytes(b"other")
    with pytest.raises(BundleError, match="does not match"):
        read_plan(path)
    path.with_name("a.plan.json").write_text("{")
    with pytest.raises(BundleError, match="cannot be read"):
        read_plan(path)
    with pytest.raises(BundleError, match="cannot be read"):
        read_plan(tmp_path / "missing.plan")


def test_without_tensorrt_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("tensorrt", "tensorrt_lean"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=r"fastconcept\[tensorrt\]"):
        TensorRTEncoder(write_plan(tmp_path))


class Stream:
    """Counts what is captured; work happens at once."""

    ptr = 7
    captured: Any = None

    def __enter__(self) -> None: ...
    def __exit__(self, *_: object) -> None: ...
    def synchronize(self) -> None: ...
    def record(self) -> object:
        return object()

    def wait_event(self, event: object) -> None: ...
    def begin_capture(self) -> None:
        Context.log.append("begin")

    def end_capture(self) -> Any:
        Context.log.append("end")
        context = Context.last
        return SimpleNamespace(launch=lambda stream: context.run())


class Context:
    """An execution context whose encoder takes the mean of every channel, then pads with ones."""

    log: list[str] = []  # noqa: RUF012
    last: Any = None

    def __init__(self) -> None:
        self.addresses: dict[str, np.ndarray] = {}

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.profile = profile
        return stream == Stream.ptr

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> None:
        assert (name, shape) == ("pixels", (BUCKETS[self.profile], 3, SIDE, SIDE))

    def get_tensor_shape(self, name: str) -> tuple[int, int]:
        return (BUCKETS[self.profile], DIM)

    def set_tensor_address(self, name: str, address: int) -> None:
        self.addresses[name] = ARRAYS[address]

    def execute_async_v3(self, stream: int) -> bool:
        Context.last = self
        self.log.append("run")
        self.run()
        return True

    def run(self) -> None:
        rows = self.addresses["rows"]
        rows[:, :3] = self.addresses["pixels"].mean(axis=(2, 3))
        rows[:, 3:] = 1


class Engine:
    num_io_tensors, num_optimization_profiles = 2, len(BUCKETS)

    def get_tensor_name(self, i: int) -> str:
        return ("pixels", "rows")[i]

    def get_tensor_mode(self, name: str) -> str:
        return {"pixels": "in", "rows": "out"}[name]

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[tuple[int, ...]]:
        return [(BUCKETS[profile], 3, SIDE, SIDE)] * 3

    def get_tensor_dtype(self, name: str) -> str:
        return "half" if name == "pixels" else "float"

    def create_execution_context(self) -> Context:
        return Context()


ARRAYS: dict[int, np.ndarray] = {}


class Array(np.ndarray):
    @property
    def data(self) -> Any:
        ARRAYS[self.ctypes.data] = self
        return SimpleNamespace(ptr=self.ctypes.data)


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """TensorRT and CuPy, as far as the runner uses them."""
    trt = SimpleNamespace(
        __version__="10.16.1.11",
        Logger=type("Logger", (), {"WARNING": 1, "__init__": lambda self, level: None}),
        Runtime=lambda logger: SimpleNamespace(
            deserialize_cuda_engine=lambda plan: Engine() if plan == b"plan" else None
        ),
        TensorIOMode=SimpleNamespace(INPUT="in", OUTPUT="out"),
        DataType=SimpleNamespace(FLOAT="float", HALF="half"),
    )
    device = type("Device", (contextlib.nullcontext,), {"compute_capability": "90"})
    cupy = SimpleNamespace(
        cuda=SimpleNamespace(Device=device, Stream=lambda non_blocking: Stream(), get_current_stream=Stream),
        zeros=lambda shape, dtype: np.zeros(shape, dtype).view(Array),
        empty=np.empty,
        asarray=np.asarray,
        asnumpy=np.array,
    )
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    Context.log.clear()


@pytest.mark.usefixtures("libraries")
def test_every_bucket_is_captured_before_the_first_request(tmp_path: Path) -> None:
    encoder = TensorRTEncoder(write_plan(tmp_path), DIM)
    assert Context.log == ["run", "begin", "run", "end"] * len(BUCKETS)
    assert (encoder.batch_size, encoder.dim, encoder.size) == (4, DIM, (SIDE, SIDE))
    pixels = np.random.default_rng(0).random((10, 3, SIDE, SIDE), np.float32)
    rows = encoder.encode(pixels)
    np.testing.assert_allclose(rows[:, :3], pixels.mean(axis=(2, 3)), atol=1e-3)
    assert rows.dtype == np.float32 and (rows[:, 3:] == 1).all()
    out = np.empty((10, DIM), np.float32)
    assert encoder.encode(pixels, out=out) is out
    assert np.array_equal(out, rows)
    assert encoder.encode(pixels[:0]).shape == (0, DIM)
    assert len(Context.log) == 4 * len(BUCKETS)  # requests replay graphs and enqueue nothing


@pytest.mark.usefixtures("libraries")
@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [("set_input_shape", BundleError, "does not take"), ("set_tensor_address", DeviceError, "refuses the buffer")],
)
def test_what_tensorrt_refuses_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, kind: type[Exception], message: str
) -> None:
    monkeypatch.setattr(Context, call, lambda *_: False)
    with pytest.raises(kind, match=message):
        TensorRTEncoder(write_plan(tmp_path))


@pytest.mark.usefixtures("libraries")
def test_bad_pixels_are_named(tmp_path: Path) -> None:
    encoder = TensorRTEncoder(write_plan(tmp_path))
    with pytest.raises(InputError, match=r"\(n, 3, 8, 8\)"):
        encoder.encode(np.zeros((2, 3, 4, 4), np.float32))
    with pytest.raises(InputError, match="float64"):
        encoder.encode(np.zeros((2, 3, SIDE, SIDE)))
    with pytest.raises(InputError, match="not finite"):
        encoder.encode(np.full((1, 3, SIDE, SIDE), np.nan, np.float32))
    with pytest.raises(InputError, match="out must be"):
        encoder.encode(np.zeros((2, 3, SIDE, SIDE), np.float32), out=np.zeros((3, DIM), np.float32))


@pytest.mark.usefixtures("libraries")
def test_a_plan_of_another_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="compute capability 87"):
        TensorRTEncoder(write_plan(tmp_path, compute_capability="87"))
    with pytest.raises(DeviceError, match=r"TensorRT 11\.4"):
        TensorRTEncoder(write_plan(tmp_path, tensorrt="11.4.0.106"))
    with pytest.raises(DeviceError, match="refuses the plan"):
        TensorRTEncoder(write_plan(tmp_path, plan=b"noise"))
    with pytest.raises(BundleError, match="rows of 5, the manifest says 6"):
        TensorRTEncoder(write_plan(tmp_path), 6)
