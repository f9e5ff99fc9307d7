"""Torch modules as encoders, on the host and over the emulated device."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import fastconcept as fc
from fastconcept.concepts.bank import ConceptBank
from fastconcept.encoders import torch_module
from fastconcept.encoders.torch_module import TorchImageEncoder
from fastconcept.errors import InputError
from tests.cuda.host.emulation import emulated

torch = pytest.importorskip("torch")
PIXELS = np.random.default_rng(0).random((5, 3, 8, 8), dtype=np.float32) + 0.1


def tower(dense: bool = False) -> Any:
    """Means of colours, of the whole picture and, if dense, of its quarters."""

    class Means(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0]))

        def forward(self, pixels: Any) -> Any:
            whole = pixels.mean(dim=(2, 3)) * self.gain
            if not dense:
                return whole
            quarters = torch.nn.functional.avg_pool2d(pixels, pixels.shape[-1] // 2).flatten(2).transpose(1, 2)
            return torch.cat([whole[:, None], quarters * self.gain], 1)

    return Means().eval()


def expected(pixels: np.ndarray) -> np.ndarray:
    rows = pixels.astype(np.float64).mean(axis=(2, 3)) * [1, 2, 3]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.mark.parametrize("batch", [1, 2, 32])
def test_unit_rows_in_batches(batch: int) -> None:
    rows = TorchImageEncoder(tower(), batch_size=batch).encode(PIXELS)
    assert rows.dtype == np.float32 and rows.flags.c_contiguous
    np.testing.assert_allclose(rows, expected(PIXELS), atol=1e-6)


@pytest.mark.parametrize(("dtype", "close"), [("bfloat16", 1e-2), ("float16", 1e-3), ("float32", 1e-6)])
def test_precisions_are_those_asked_for(dtype: str, close: float) -> None:
    module = tower()
    rows = TorchImageEncoder(module, dtype=dtype, cuda_graphs=True).encode(PIXELS)  # graphs are for GPUs
    assert module.gain.dtype == getattr(torch, dtype)
    np.testing.assert_allclose(rows, expected(PIXELS), atol=close)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)


def test_dense_rows() -> None:
    rows = TorchImageEncoder(tower(dense=True), stride=4).encode(PIXELS)
    assert rows.shape == (5, 5, 3)
    np.testing.assert_allclose(rows[:, 0], expected(PIXELS), atol=1e-6)
    np.testing.assert_allclose(rows[:, 4], expected(PIXELS[:, :, 4:, 4:]), atol=1e-6)


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (torch.nn.Identity(), {}, r"shape \(5, 3, 8, 8\), expected \(5, d\)"),
        (tower(), {"stride": 4}, r"shape \(5, 3\), expected \(5, 1 \+ tokens, d\)"),
        (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Threshold(1e9, 0.0)), {}, "zero or not finite"),
        (torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Threshold(1e9, float("nan"))), {}, "zero or not finite"),
        (torch.nn.Sequential(torch.nn.Flatten(0)), {}, r"shape \(960,\)"),
    ],
)
def test_what_a_module_returns_is_checked(module: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TorchImageEncoder(module, **options).encode(PIXELS)


def test_bad_arguments() -> None:
    with pytest.raises(InputError, match="dtype must be one of float32, bfloat16, float16, got 'half'"):
        TorchImageEncoder(tower(), dtype="half")
    with pytest.raises(InputError, match="no pixels"):
        TorchImageEncoder(tower()).encode(PIXELS[:0])


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The emulated device with torch's arrays on it; lends itself for one array of the device at a time."""
    with emulated():
        import cupy

        seen: list[int] = []

        def queue(address: int) -> int:
            seen.append(address)
            return address

        # torch.from_dlpack asks the array to make torch's stream wait; as_tensor would not.
        monkeypatch.setattr(
            cupy.ndarray, "__dlpack_device__", lambda array: array._memory.__dlpack_device__(), raising=False
        )
        monkeypatch.setattr(
            cupy.ndarray, "__dlpack__", lambda array, **_: (array.data, array._memory.__dlpack__())[1], raising=False
        )
        monkeypatch.setattr(cupy, "from_dlpack", lambda tensor: cupy.asarray(tensor.numpy()), raising=False)
        monkeypatch.setattr(torch_module, "_queue", queue)
        monkeypatch.setattr(torch.cuda, "stream", lambda _: contextlib.nullcontext())
        monkeypatch.setattr(torch, "as_tensor", lambda *_: pytest.fail("torch would not wait for the pixels"))
        yield seen


def test_a_module_works_on_the_stream_of_the_engine(device: list[int]) -> None:
    """Torch has a stream of its own: what it reads has to be written, and what it writes waited for."""
    parts: dict[str, Any] = {
        "embedding_dim": 3,
        "preprocess": fc.Preprocess((8, 8), (0.0,) * 3, (1.0,) * 3),
        "bank": ConceptBank(np.eye(3), phrases=["red", "green", "blue"]),
    }
    picture = np.random.default_rng(1).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    engine = fc.Engine.from_parts(
        **parts, image_encoder=tower(), dense_encoder=TorchImageEncoder(tower(dense=True), stride=4), device="cuda:0"
    )
    seen = [engine.explain(picture, "red", mode=mode, fit="crop") for mode in ("crops", "dense")]
    assert set(device) == {engine.parts.place.stream}
    parts["image_encoder"] = expected
    same = fc.Engine.from_parts(**parts).explain(picture, "red", fit="crop")
    np.testing.assert_array_equal(seen[0].maps, same.maps)
    assert seen[1].maps.shape == (1, 8, 8)  # four tokens, four times as fine


def test_rows_without_a_direction_do_not_leave_the_device(device: list[int]) -> None:
    """On a GPU nothing waits for a check of its own; the rows are refused where they come back."""
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Threshold(1e9, 0.0))
    preprocess = fc.Preprocess((8, 8), (0.0,) * 3, (1.0,) * 3)
    engine = fc.Engine.from_parts(embedding_dim=192, preprocess=preprocess, image_encoder=module, device="cuda:0")
    with pytest.raises(InputError, match="zero or not finite"):
        engine.encode_image(np.zeros((9, 9, 3), np.uint8))
