"""Times on the device: the encoder through every runtime, and the whole explanation with each."""

from __future__ import annotations

import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .encoders import DIM, SIDE, export_onnx, flops, vision_transformer
from .floors import Ceilings, Work
from .measure import NOUNS, PATCHES, beside_floor
from .steps import Missing, attempt, median_ms
from .verify import unit_rows

TORCH: dict[str, dict[str, bool]] = {"torch": {}, "torch, CUDA graphs": {"cuda_graphs": True}}


def torch_encoder(patch: int, dense: bool = False, **options: bool) -> Any:
    """A tower of torch on the device, in bfloat16."""
    from fastconcept.encoders.torch_module import TorchImageEncoder

    tower = vision_transformer(patch, dense=dense).cuda()
    stride = patch if dense else 0
    return TorchImageEncoder(tower, dtype="bfloat16", batch_size=PATCHES, stride=stride, **options)


def _runtimes(patch: int, folder: Path, place: Any) -> dict[str, Callable[[], Callable[[Any], Any]]]:
    """Every way to run the encoder: a function that prepares it and returns pixels -> rows on the device."""
    import cupy

    def onnxruntime(provider: str) -> Callable[[Any], Any]:
        import onnxruntime as ort

        from fastconcept.encoders.opening import open_image_onnx

        if provider not in ort.get_available_providers():
            raise Missing(f"this onnxruntime has no {provider}")
        return open_image_onnx(export_onnx(patch, folder), DIM, place, [provider]).encode

    def tensorrt() -> Callable[[Any], Any]:
        from fastconcept.encoders.opening import open_image_plan
        from fastconcept.encoders.tensorrt.plans import import_tensorrt
        from fastconcept.export.tensorrt.compile import compile_plan
        from fastconcept.export.tensorrt.half_onnx import halve
        from fastconcept.export.tensorrt.keys import write_plan

        trt = import_tensorrt()
        model = folder / f"half_{patch}.onnx"
        halve(export_onnx(patch, folder), model)
        plan = compile_plan(trt, model, (SIDE, SIDE), (1, PATCHES), False, folder / "timing")
        device = cupy.cuda.Device()
        path = write_plan(folder / f"{patch}.plan", plan, trt.__version__, device.compute_capability)
        return open_image_plan(path, DIM, device.id).encode

    return {
        **{f"{name} bfloat16": lambda o=options: torch_encoder(patch, **o).encode for name, options in TORCH.items()},
        "ONNX Runtime CUDA float32": lambda: onnxruntime("CUDAExecutionProvider"),
        "ONNX Runtime TensorRT float32": lambda: onnxruntime("TensorrtExecutionProvider"),
        "TensorRT float16": tensorrt,
    }


class Encoder:
    """A way to encode as an explanation uses it."""

    batch_size = PATCHES

    def __init__(self, encode: Callable[[Any], Any], stride: int = 0) -> None:
        self.encode, self.stride = encode, stride  # of a dense one: pixels per token


def timed_pass(name: str, encode: Callable[[Any], Any], pixels: Any, patch: int, ceilings: Ceilings) -> dict[str, Any]:
    """One row: pixels through an encoder, beside the floor of its tower."""
    work = Work(pixels.nbytes, flops(patch, len(pixels)))
    return beside_floor(name, median_ms(lambda: encode(pixels), 10), work, ceilings)


def time_encoders(ceilings: Ceilings, patch: int) -> list[dict[str, Any]]:
    """730 crops through every runtime, then the whole explanation with each that works."""
    import cupy

    from fastconcept.kernels import cuda

    rows = []
    with tempfile.TemporaryDirectory() as scratch, cuda.open_device("cuda:0") as place:
        pixels = cupy.random.random((PATCHES, 3, SIDE, SIDE), dtype=np.float32)
        for name, prepare in _runtimes(patch, Path(scratch), place).items():

            def step(name: str = name, prepare: Any = prepare) -> dict[str, Any]:
                encode = prepare()
                row = timed_pass(f"{name} ViT-B/{patch}", encode, pixels, patch, ceilings)
                row["explain"] = time_explain(Encoder(encode), f"explain ViT-B/{patch}, {name}")
                return row

            rows.append(attempt(f"encoder {name} ViT-B/{patch}", step))
    return rows


def time_dense(ceilings: Ceilings) -> list[dict[str, Any]]:
    """One pass of a ViT-B/16 for all tokens, then the whole explanation by it."""
    import cupy

    from fastconcept.kernels import cuda

    rows = []
    with cuda.open_device("cuda:0"):
        pixels = cupy.random.random((1, 3, SIDE, SIDE), dtype=np.float32)
        for name, options in TORCH.items():

            def step(name: str = name, options: dict[str, bool] = options) -> dict[str, Any]:
                encoder = torch_encoder(16, dense=True, **options)
                row = timed_pass(f"dense pass ViT-B/16, {name} bfloat16", encoder.encode, pixels, 16, ceilings)
                row["explain"] = time_explain(None, f"explain dense ViT-B/16, {name}", dense=encoder)
                return row

            rows.append(attempt(f"dense {name}", step))
    return rows


def time_compiled(ceilings: Ceilings) -> list[dict[str, Any]]:
    """What torch.compile makes of both towers; it takes half a minute for each."""
    import cupy

    from fastconcept.kernels import cuda

    rows = []
    with cuda.open_device("cuda:0"):
        for patch, images in ((32, PATCHES), (16, 1)):

            def step(patch: int = patch, images: int = images) -> dict[str, Any]:
                encoder = torch_encoder(patch, dense=images == 1, compile=True)
                pixels = cupy.random.random((images, 3, SIDE, SIDE), dtype=np.float32)
                name = f"torch.compile bfloat16 ViT-B/{patch}, {images}"
                return timed_pass(name, encoder.encode, pixels, patch, ceilings)

            rows.append(attempt(f"torch.compile ViT-B/{patch}", step))
    return rows


def time_explain(encoder: Any, name: str, concepts: int = NOUNS, repeat: int = 10, dense: Any = None) -> dict[str, Any]:
    """What ``Engine.explain`` does, from a JPEG to a map on the host, one concept among all nouns; on the host's clock.

    Parameters
    ----------
    encoder : object
        With ``batch_size`` and ``encode(pixels)``, on the device; None with `dense`, whose pass has the picture's row.
    name : str
        Of the row.
    concepts : int
        Rows of the bank.
    repeat : int
        Timed calls, after two that are not.
    dense : object, optional
        With ``stride`` as well, and ``encode`` for rows of tokens: explain by one pass of it instead of by crops.
    """
    from fastconcept.bundle import Preprocess
    from fastconcept.encoders.image_tower import ImageTower
    from fastconcept.kernels import cuda
    from fastconcept.saliency.explain import explain
    from fastconcept.saliency.layout import Layout
    from fastconcept.saliency.targets import Target
    from fastconcept.timings import Timings

    bank, config = cuda.prepare_bank(unit_rows(concepts, DIM, 1)), Preprocess((SIDE, SIDE), (0.5,) * 3, (0.25,) * 3)
    targets = [Target("c", "c", "", np.arange(min(91, concepts), dtype=np.int32))]
    mode = "dense:clearclip" if dense else "crops"
    tower = ImageTower(encoder, config, cuda, dense=dense, mode=mode)
    layout = Layout(fit="crop", mode=mode)
    source, decode = _source()

    def run(make: Callable[[], Any]) -> dict[str, Any]:
        times: list[float] = []
        for _ in range(2 + repeat):
            began = time.perf_counter()
            timings = Timings()
            with timings.stage("decode"):
                image = make()
            seen = explain(image, targets, bank, tower, layout, timings=timings)
            times.append((time.perf_counter() - began) * 1e3)
            assert seen.maps.max() == 1
        middle = sorted(times[2:])
        return {"ms": middle[len(middle) // 2], "slowest_ms": middle[-1], "last_stages_ms": dict(seen.timings_ms)}

    pixels = decode()
    return {"name": name, "source": source, **run(decode), "from_pixels": run(lambda: pixels)}


def _source() -> tuple[str, Callable[[], Any]]:
    """A JPEG of 640 x 480, and what decodes it; its pixels where Pillow is not installed."""
    if importlib.util.find_spec("PIL") is None:
        pixels = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
        return "pixels (Pillow, which decodes, is not installed)", lambda: pixels
    from fastconcept.bench import synthetic_jpeg
    from fastconcept.encoders.decode import load_image

    content = synthetic_jpeg(480, 640)
    return "JPEG", lambda: load_image(content)
