"""Would an image encoder in 8 bits be as good, and faster? Static quantisation (QDQ), calibrated by percentiles.

Rows of patches and whole pictures by the quantised encoder are compared with those in float32. Nothing that fails is
offered: `export` has no such precision, and this suite says why. Activations of up to 20,000 values per layer and batch
are kept, and their percentiles are the ranges; ONNX Runtime's own histograms take a minute per batch.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import fastconcept as fc
from fastconcept.encoders.image_tower import ImageTower
from fastconcept.saliency.crops import add_surroundings, plan_crops
from fastconcept.saliency.layout import Layout

OPERATORS = ["Conv", "Gemm", "MatMul"]
PERCENTILES = (100.0, 99.99, 99.9)
BARS = {"mean_cosine": 0.99, "times_float32": 1.6}
_KEPT = 20_000


def photographs() -> list[np.ndarray]:
    """CC0 photographs of scikit-image; half of them calibrate, half of them test."""
    from skimage import data

    names = ("chelsea", "coffee", "astronaut", "rocket")
    return [np.ascontiguousarray(getattr(data, name)()) for name in names]


def batches(tower: ImageTower, images: list[np.ndarray], count: int) -> Iterator[np.ndarray]:
    """For each image, the whole picture and 15 of its patches, ``count`` times: (16, 3, h, w)."""
    rng, layout = np.random.default_rng(0), Layout(stride=32)
    for image in images:
        plan = plan_crops(image.shape[0], image.shape[1], layout)
        bordered = add_surroundings(image, plan, layout, tower)
        whole = tower.resized(image, np.array([[0, 0, image.shape[1], image.shape[0]]], np.int32), tower.patch_size)
        for _ in range(count):
            boxes = plan.grid.boxes[rng.choice(len(plan.grid), 15, replace=False)]
            yield np.concatenate([whole, tower.resized(bordered, boxes, tower.patch_size)])


class Quantiser:
    """Activations of a float32 encoder, from which it is quantised for any percentile."""

    def __init__(self, path: Path, folder: Path, calibration: Iterator[np.ndarray]) -> None:
        import onnx
        import onnxruntime
        from onnxruntime.quantization.shape_inference import quant_pre_process

        onnx.save(onnx.load(str(path)), str(folder / "whole.onnx"))  # with its weights inside
        quant_pre_process(str(folder / "whole.onnx"), str(folder / "ready.onnx"), skip_symbolic_shape=True)
        self.path, self._quantised = folder / "ready.onnx", folder / "quantised.onnx"
        model = onnx.load(str(self.path))
        weights = {tensor.name for tensor in model.graph.initializer}
        uses = (
            use for node in model.graph.node if node.op_type in OPERATORS for use in (*node.input[:2], *node.output)
        )
        names = list(dict.fromkeys(use for use in uses if use not in weights))
        self.input, known = model.graph.input[0].name, {output.name for output in model.graph.output}
        watched = [name for name in names if name != self.input]
        info = onnx.helper.make_tensor_value_info
        model.graph.output.extend(info(n, onnx.TensorProto.FLOAT, None) for n in watched if n not in known)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        kept: dict[str, list[np.ndarray]] = {name: [] for name in names}
        rng = np.random.default_rng(0)
        for pixels in calibration:
            seen = dict(zip(watched, session.run(watched, {self.input: pixels}), strict=True)) | {self.input: pixels}
            for name in names:
                values = seen[name].reshape(-1)
                kept[name].append(values if len(values) < _KEPT else values[rng.integers(0, len(values), _KEPT)])
        self._values = {name: np.concatenate(parts) for name, parts in kept.items()}

    def quantised(self, percentile: float) -> Path:
        """The encoder in 8 bits: weights per channel, in 7 bits, which AVX2 adds up without saturation."""
        import onnx
        from onnxruntime.quantization import CalibrationMethod, QuantType
        from onnxruntime.quantization.calibrate import TensorData, TensorsData
        from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

        ranges = {
            name: TensorData(
                lowest=np.float32(min(0, np.percentile(values, 100 - percentile))),
                highest=np.float32(max(0, np.percentile(values, percentile))),
            )
            for name, values in self._values.items()
        }
        found = TensorsData(CalibrationMethod.Percentile, ranges)
        types = (QuantType.QInt8, QuantType.QUInt8)
        quantizer = QDQQuantizer(onnx.load(str(self.path)), True, True, *types, found, [], [], OPERATORS, {})
        quantizer.quantize_model()
        onnx.save(quantizer.model.model, str(self._quantised))
        return self._quantised


def encode(path: Path, name: str, pixels: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Rows of all batches, and seconds for them."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options)
    session.run(None, {name: pixels[0]})
    began = time.perf_counter()
    rows = np.concatenate([session.run(None, {name: batch})[0] for batch in pixels])
    return rows, time.perf_counter() - began


def compare(case: str, encoder: Path, tower: ImageTower, quick: bool) -> list[dict[str, Any]]:
    """A row per percentile for one encoder."""
    images, count = photographs(), 1 if quick else 3
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        quantiser = Quantiser(encoder, Path(folder), batches(tower, images[::2], count))
        pixels = list(batches(tower, images[1::2], count))
        expected, float_s = encode(quantiser.path, quantiser.input, pixels)
        for percentile in PERCENTILES[:1] if quick else PERCENTILES:
            found, int8_s = encode(quantiser.quantised(percentile), quantiser.input, pixels)
            cosines = (expected * found).sum(axis=1)
            rows.append(
                {
                    "case": case,
                    "percentile": percentile,
                    "mean_cosine": float(cosines.mean()),
                    "min_cosine": float(cosines.min()),
                    "times_float32": float_s / int8_s,
                }
            )
    return rows


def run(options: Any) -> list[dict[str, Any]]:
    """The built-in model, whose embeddings mean something, and a ViT-B/32 of random weights, for its speed."""
    from benchmarks.models import random_vit_b_32

    engine = fc.load()
    manifest, tower = engine.bundle.manifest, engine.parts.image_tower()
    rows = compare("built-in model", engine.bundle.file(manifest.image_encoder), tower, options.quick)
    if not options.quick:
        config = fc.Preprocess((224, 224), (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))
        vit = ImageTower(tower.encoder, config, tower.kernels)
        rows += compare("ViT-B/32, random weights", random_vit_b_32(), vit, False)
    return rows


SUITES = {"int8": run}
