"""What a million pictures cost: measured on cores like these, and computed for a GPU that the cores beside it feed.

python -m benchmarks batch batch-cost --json benchmarks/results/batch.json
python -m benchmarks.batch_cost benchmarks/results/batch.json --core-hour 0.04 --gpu L4 --gpu-hour 0.60
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import fastconcept as fc

from .batch import pictures

# Operations a second in half precision with float32 sums, without sparsity, as NVIDIA's data sheets have them.
PEAKS = {"L4": 121e12, "A100": 312e12, "H100": 989e12}


def work(options: Any) -> list[dict[str, Any]]:
    """CPU time of each stage for one picture, which other programs of the machine hardly change; and its operations."""
    count = 64 if options.quick else 512
    engine = fc.load()
    with tempfile.TemporaryDirectory() as folder:
        paths = pictures(Path(folder, "photos"), count)
        rows = engine.encode_image(paths[:64])
        some = np.tile(rows, (count // 64, 1))
        _ = engine.decompose(embeddings=rows).cosine
        found = {
            "encoder_operations": operations(engine.bundle.path / "image_encoder.onnx", engine.parts.preprocess.size)
        }
        for stage, ask in {
            "preprocess_cpu_ms": lambda: engine.preprocess(paths),
            "solve_cpu_ms": lambda: engine.decompose(embeddings=some).cosine,
        }.items():
            began = time.process_time()
            ask()
            found[stage] = 1e3 * (time.process_time() - began) / count
    return [{"case": "one picture of 160 px, decompose", **found}]


def operations(model: Path, size: tuple[int, int]) -> float:
    """Multiplications and additions of the products and convolutions of an ONNX model, for one image of a size.

    Raises
    ------
    ValueError
        If the shape of one of them is not known.
    """
    import onnx

    loaded = onnx.load(str(model), load_external_data=False)
    for axis, length in zip(loaded.graph.input[0].type.tensor_type.shape.dim, (1, 3, *size), strict=True):
        axis.dim_value = length
    graph = onnx.shape_inference.infer_shapes(loaded).graph
    shapes = {entry.name: [axis.dim_value for axis in entry.type.tensor_type.shape.dim]
              for entry in [*graph.value_info, *graph.input, *graph.output]}  # fmt: skip
    shapes |= {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    total = 0.0
    for node in graph.node:
        if node.op_type not in ("Conv", "FusedConv", "Gemm", "MatMul"):
            continue
        weights, result = shapes.get(node.input[1]), shapes.get(node.output[0])
        if not weights or not result:
            raise ValueError(f"the shape of {node.name} is not known")
        per_value = float(np.prod(weights[1:]))  # of a convolution: channels of its group, and the window
        if node.op_type == "MatMul":
            per_value = weights[max(len(weights) - 2, 0)]
        elif node.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in node.attribute):
            per_value = weights[0]
        total += 2 * float(np.prod(result)) * per_value
    return total


def table(report: dict[str, Any], chosen: argparse.Namespace) -> str:
    """Hours and prices of a million pictures, as a table in Markdown."""
    rows = {row["suite"]: row for row in report["rows"]}
    job, one = rows["batch"], rows["batch-cost"]
    core = job["batch_cpu_ms"] / 3.6  # milliseconds of one are hours of a million, times 3.6
    fed = one["preprocess_cpu_ms"] + one["solve_cpu_ms"]
    computing = one["encoder_operations"] * 1e6 / (PEAKS[chosen.gpu] * chosen.share) / 3600
    feeding = fed / 3.6 / chosen.cores
    hours = max(computing, feeding)
    price = hours * (chosen.gpu_hour + chosen.cores * chosen.core_hour)
    machine = f"one {chosen.gpu} and {chosen.cores} cores, computed"
    slower = "the cores set" if feeding > computing else "the GPU sets"
    encoder = f"{one['encoder_operations'] / 1e9:.2f} billion operations a picture"
    return "\n".join(
        [
            "| machine | a million pictures take | which cost |",
            "|---|---|---|",
            f"| one core, measured | {core:.1f} hours | ${core * chosen.core_hour:.2f} |",
            f"| {machine}; {slower} the pace | {hours:.2f} hours | ${price:.2f} |",
            "",
            f"Encoder: {encoder}, at {chosen.share:.0%} of the "
            f"{PEAKS[chosen.gpu] / 1e12:.0f} trillion a second of the {chosen.gpu}: {computing:.2f} hours. "
            f"Preprocessing and solving: {fed:.1f} CPU ms a picture: {feeding:.2f} hours of {chosen.cores} cores.",
        ]
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table of a result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("report", type=Path, help="result of the suites batch and batch-cost")
    parser.add_argument("--core-hour", type=float, default=0.04, help="price of a core for an hour")
    parser.add_argument("--gpu", choices=list(PEAKS), default="L4")
    parser.add_argument("--gpu-hour", type=float, default=0.60, help="price of the GPU for an hour, without cores")
    parser.add_argument("--cores", type=int, default=8, help="cores beside the GPU")
    parser.add_argument("--share", type=float, default=0.02, help="of the peak that the encoder is taken to reach")
    chosen = parser.parse_args(arguments)
    print(table(json.loads(chosen.report.read_text("utf-8")), chosen))


SUITES = {"batch-cost": work}

if __name__ == "__main__":
    main()
