"""Dense passes of a random ViT-B/16 beside one ``encode_image``, GEM's package and LeGrad's, on the same weights.

``python -m benchmarks.dense --peers PYTHON`` prints a JSON document; PYTHON is the interpreter of an environment with
``gem_torch`` and ``legrad_torch`` (see ``dense_peers.py``). Without it only our own passes are measured. The exported
towers stay in ``.cache/dense``, so that another run measures at once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.models import random_units
from benchmarks.timing import medians_ms
from fastconcept.bench import peak_memory_mib
from fastconcept.bundle import Preprocess
from fastconcept.concepts.bank import ConceptBank
from fastconcept.encoders.opening import open_dense_onnx, open_image_onnx
from fastconcept.engine import Engine
from fastconcept.kernels.threads import default_num_threads

ROOT = Path(__file__).resolve().parents[1]
CONCEPTS = 8_000
PREPROCESS = Preprocess((224, 224), (0.48, 0.46, 0.41), (0.27, 0.26, 0.28))


def export(folder: Path, changes: tuple[str, ...]) -> None:
    """Write the image tower, its dense passes and its weights, unless they are there."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    from fastconcept.export.dense.find import find_dense
    from fastconcept.export.model import unit_rows
    from fastconcept.export.onnx import write_module

    wanted = [change for change in changes if not (folder / f"{change}.onnx").is_file()]
    if not wanted and (folder / "image.onnx").is_file():
        return
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-16").eval()
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, folder / "weights.safetensors")
    native = torch.zeros(2, 3, 224, 224)
    write_module(unit_rows(model, "encode_image"), native, folder / "image.onnx", "pixels", {0: "batch"})
    dense = find_dense(model.visual)
    for change in wanted:
        axes = {0: "batch", 2: "height", 3: "width"}
        write_module(dense.modules[change](), torch.zeros(2, 3, 240, 256), folder / f"{change}.onnx", "pixels", axes)


def measure(folder: Path, changes: tuple[str, ...], peers: str | None, repeats: int) -> dict[str, Any]:
    """Times, ratios and differences; see the head of this file."""
    rng, threads = np.random.default_rng(0), default_num_threads()
    pixels, large = (rng.standard_normal((1, 3, side, side), np.float32) for side in (224, 336))
    encoder = open_image_onnx(folder / "image.onnx", 512)
    passes = {change: open_dense_onnx(folder / f"{change}.onnx", 512, 16) for change in changes}
    works: dict[str, Callable[[], Any]] = {"encode_image": lambda: encoder.encode(pixels)}
    works |= {change: lambda one=one: one.encode(pixels) for change, one in passes.items()}
    times = medians_ms(works, repeats)
    document: dict[str, Any] = {"num_threads": threads, "ms": times}
    document["over_encode_image"] = {change: times[change] / times["encode_image"] for change in changes}
    document["explain"] = _explain(encoder, passes[changes[0]], repeats)
    if peers is not None:
        np.save(folder / "pixels.npy", pixels)
        np.save(folder / "large.npy", large)
        (folder / "settings.json").write_text(json.dumps({"num_threads": threads}))
        script = [peers, str(ROOT / "benchmarks/dense_peers.py"), str(folder), str(repeats)]
        subprocess.run(script, check=True, stdout=subprocess.DEVNULL)
        document |= _beside_peers(folder, passes, times, pixels, large)
    return document


def _explain(encoder: Any, dense: Any, repeats: int) -> dict[str, Any]:
    """Milliseconds of everything but the encoder for few and many concepts, and memory for 1920 x 1080 pixels."""
    names = [f"concept {number}" for number in range(CONCEPTS)]
    bank = ConceptBank(random_units(CONCEPTS, 512), phrases=names)
    parts = {"image_encoder": encoder, "dense_encoder": dense, "bank": bank}
    engine = Engine.from_parts(embedding_dim=512, preprocess=PREPROCESS, **parts)
    picture = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    rest: dict[str, float] = {}
    for count in (1, 3, 100):
        spent = []
        for _ in range(repeats + 1):
            timings = engine.explain(picture, names[:count], mode="dense").timings_ms
            spent.append(sum(ms for stage, ms in timings.items() if stage != "encode"))
        rest[str(count)] = float(np.median(spent[1:]))
    before = peak_memory_mib()
    engine.explain(np.zeros((1080, 1920, 3), np.uint8), names[:3], mode="dense", short_side=448)
    return {"not_encoder_ms_by_concepts": rest, "peak_memory_1080p_mib": peak_memory_mib() - before}


def _beside_peers(
    folder: Path, passes: dict[str, Any], times: dict[str, float], pixels: np.ndarray, large: np.ndarray
) -> dict[str, Any]:
    spent = {name: float(np.median(ms)) for name, ms in json.loads((folder / "times.json").read_text()).items()}
    rows: dict[str, Any] = {"peers_ms": spent}
    rows["times_faster"] = {
        f"{change} over {peer}": ms / times[change] for peer, ms in spent.items() for change in passes
    }
    if "gem" in passes:
        rows["max_abs_difference_gem"] = {
            name: float(np.abs(passes["gem"].encode(given)[:, 1:] - np.load(folder / f"gem_{name}.npy")).max())
            for name, given in (("pixels", pixels), ("large", large))
        }
    whole = next(iter(passes.values())).encode(large)[:, 0]
    rows["max_abs_difference_legrad_whole"] = float(np.abs(whole - np.load(folder / "legrad_whole_large.npy")).max())
    return rows


def main() -> int:
    """Export what is missing, measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.dense", description=__doc__)
    parser.add_argument("--peers", help="interpreter with gem_torch and legrad_torch")
    parser.add_argument("--changes", default="clearclip,gem", help="dense passes, with commas")
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    folder, changes = ROOT / ".cache/dense", tuple(options.changes.split(","))
    export(folder, changes)
    print(json.dumps(measure(folder, changes, options.peers, options.repeats), indent=2))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
