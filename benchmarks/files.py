"""From image files to words: throughput and CPU time of every stage and of the whole, beside other preprocessors.

Every program runs in a process of its own, all in turn, on the same files. Pictures are cut out of the photographs of
scikit-image, so that the suite needs no data.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

PHOTOGRAPHS = ("chelsea.png", "coffee.png", "rocket.jpg", "astronaut.png", "motorcycle_left.png")
CASES = {  # name: suffix, height, width, files
    "JPEG 640 x 480": ("jpg", 480, 640, 96),
    "JPEG 4,000 x 3,000": ("jpg", 3000, 4000, 8),
    "PNG 640 x 480": ("png", 480, 640, 32),
    "WebP 640 x 480": ("webp", 480, 640, 32),
}
BATCH = 32

_TURNS = """
import json, sys, time
import fastconcept as fc
from pathlib import Path
paths, rounds = sorted(map(str, Path(sys.argv[1]).iterdir())), int(sys.argv[2])
engine = fc.load()
_ = engine.dictionary, engine.image_mean
pixels, encoder, count = engine.preprocess(paths), engine.image_encoder, len(paths)
work = {"encode": lambda: encoder.encode(pixels), "decompose": lambda: engine.decompose(paths)}
times = {name: [] for name in work}
for _ in range(rounds + 1):
    for name, function in work.items():
        wall, cpu = time.perf_counter(), time.process_time()
        function()
        times[name].append((time.perf_counter() - wall, time.process_time() - cpu))
(encode, encode_cpu), (whole, whole_cpu) = (min(times[name][1:]) for name in work)
print(json.dumps({
    "images_per_s": count / whole, "encoder_alone_per_s": count / encode, "ratio": encode / whole,
    "cores_busy": whole_cpu / whole, "cpu_ms": whole_cpu / count * 1e3,
    "cpu_ms_beside_encoder": (whole_cpu - encode_cpu) / count * 1e3,
}))
"""

_PROGRAM = """
import json, os, sys, time
from benchmarks import files
folder, stage, repeats = sys.argv[1], sys.argv[2], int(sys.argv[3])
paths, work, more = files.prepare(folder, stage)
work(paths)
times = []
for _ in range(repeats):
    wall, cpu = time.perf_counter(), sum(os.times()[:4])  # with worker processes
    result = work(paths)
    times.append((time.perf_counter() - wall, sum(os.times()[:4]) - cpu))
wall, cpu = (sorted(values)[len(values) // 2] for values in zip(*times))
count = len(paths)
with open("/proc/self/status") as lines:  # not getrusage: a child inherits its parent's peak there
    peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024
print(json.dumps({"images_per_s": count / wall, "cpu_ms": cpu / count * 1e3, "peak_mb": peak, **more(result)}))
"""


def make_pictures(folder: Path, suffix: str, height: int, width: int, count: int) -> None:
    """Random parts of the photographs, at 80 % quality where the format has one."""
    rng = np.random.default_rng(0)
    sources = [Image.open(str(files("skimage.data") / name)).convert("RGB") for name in PHOTOGRAPHS]
    for index in range(count):
        source = sources[index % len(sources)]
        wide = int(min(source.width, source.height * width / height) * rng.uniform(0.6, 0.95))
        tall = int(wide * height / width)
        x, y = (int(rng.integers(0, room + 1)) for room in (source.width - wide, source.height - tall))
        part = source.crop((x, y, x + wide, y + tall)).resize((width, height), Image.Resampling.BICUBIC)
        options: dict[str, Any] = {} if suffix == "png" else {"quality": 80}
        part.save(folder / f"{index:04}.{suffix}", **options)


def prepare(folder: str, stage: str) -> tuple[list[Any], Any, Any]:
    """The inputs of a stage, a function that does it, and one that says what its result is worth."""
    import fastconcept as fc

    paths: list[Any] = sorted(str(path) for path in Path(folder).iterdir())
    plain: Any = lambda result: {}  # noqa: E731
    engine = fc.load(decode="fast" if "fast" in stage else "exact")
    if stage.startswith("decompose"):
        exact = fc.load().encode_image(paths) if "fast" in stage else None
        _ = engine.dictionary, engine.image_mean

        def agreement(result: Any) -> dict[str, float]:
            return {} if exact is None else {"cosine_to_exact": float((result.originals * exact).sum(1).min())}

        return paths, engine.decompose, agreement
    if stage == "encode":
        encoder = engine.image_encoder
        return list(engine.preprocess(paths)), lambda rows: encoder.encode(np.stack(rows)), plain
    if stage == "solve":
        rows = engine.encode_image(paths)
        return list(rows), lambda rows: engine.decompose(embeddings=np.stack(rows)).codes, plain
    pixels = [engine.load_image(path) for path in paths] if "arrays" in stage else paths
    work = globals()[f"_{stage.split(',')[0].split(' ')[0]}"](engine)
    expected = engine.preprocess(paths[:BATCH])

    def difference(result: Any) -> dict[str, float]:
        return {"max_abs_diff": float(np.abs(result[: len(expected)] - expected).max())}

    return pixels, work, difference if stage.startswith(("ours", "hf", "open_clip")) else plain


def _batches(function: Any) -> Any:
    """The first batch of results; the others are made and dropped, as a pipeline does."""

    def work(images: list[Any]) -> Any:
        parts = [function(images[start : start + BATCH]) for start in range(0, len(images), BATCH)]
        return parts[0]

    return work


def _ours(engine: Any) -> Any:
    return _batches(engine.preprocess)


def _decode(engine: Any) -> Any:
    from fastconcept.encoders.pipeline import in_order

    def work(paths: list[Any]) -> None:
        for _, outcome in in_order(paths, lambda path: engine.load_image(path).shape, engine.num_threads, BATCH):
            outcome()

    return work


def _hf(engine: Any) -> Any:
    """hf-processors-rs, with CLIP's processor at this model's numbers."""
    import hf_processors_rs

    return _batches(hf_processors_rs.AutoImageProcessor.from_dict(hf_config(engine.parts.preprocess), backend="pil"))


def hf_config(config: Any) -> dict[str, Any]:
    """Preprocessing as a ``preprocessor_config.json`` of CLIP."""
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": config.size[0]},
        "do_center_crop": True,
        "crop_size": {"height": config.size[0], "width": config.size[1]},
        "do_normalize": True,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "image_mean": list(config.mean),
        "image_std": list(config.std),
        "resample": {"bilinear": 2, "bicubic": 3}[config.interpolation],
        "do_convert_rgb": True,
    }


def _open_clip(engine: Any) -> Any:
    """open_clip's evaluation transform (torchvision over Pillow) in a DataLoader with a worker per core."""
    import open_clip
    import torch

    config = engine.parts.preprocess
    transform = open_clip.image_transform(
        config.size,
        is_train=False,
        mean=config.mean,
        std=config.std,
        resize_mode=config.resize_mode,
        interpolation=config.interpolation,
    )

    class Pictures(torch.utils.data.Dataset):
        def __init__(self, paths: list[str]) -> None:
            self.paths = paths

        def __len__(self) -> int:
            return len(self.paths)

        def __getitem__(self, index: int) -> Any:
            return transform(Image.open(self.paths[index]))

    def work(paths: list[str]) -> Any:
        loader = torch.utils.data.DataLoader(Pictures(paths), batch_size=BATCH, num_workers=engine.num_threads)
        batches = [batch.numpy() for batch in loader]
        return batches[0]

    return work


def _one(engine: Any) -> Any:
    """As fastembed does it: decode and preprocess with Pillow and NumPy, image after image, then a batch."""
    config = engine.parts.preprocess
    size, resample = config.size[0], Image.Resampling[config.interpolation.upper()]

    def one(path: str) -> np.ndarray:
        image = Image.open(path).convert("RGB")
        scale = size / min(image.size)
        image = image.resize((max(size, int(image.width * scale)), max(size, int(image.height * scale))), resample)
        left, top = (image.width - size) // 2, (image.height - size) // 2
        pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32) / 255
        return ((pixels - np.float32(config.mean)) / np.float32(config.std)).transpose(2, 0, 1)

    return _batches(lambda paths: np.stack([one(path) for path in paths]))


STAGES = (
    "decode, files",
    "ours, files",
    "ours, arrays",
    "hf, files",
    "hf, arrays",
    "open_clip, DataLoader",
    "one by one, files",
    "encode",
    "solve",
    "decompose, files",
)


def run(options: Any) -> list[dict[str, Any]]:
    """One row per kind of file and stage."""
    rows = []
    for case, (suffix, height, width, count) in CASES.items():
        first = case == next(iter(CASES))
        stages = STAGES if first else ("decode, files", "ours, files", "hf, files", "decompose, files")
        if "4,000" in case:
            stages = (*stages, "ours, files, fast", "decompose, files, fast")
        with tempfile.TemporaryDirectory() as folder:
            make_pictures(Path(folder), suffix, height, width, min(count, 4) if options.quick else count)
            for stage in stages:
                if stage.startswith("hf") and importlib.util.find_spec("hf_processors_rs") is None:
                    continue
                command = [sys.executable, "-c", _PROGRAM, folder, stage, "1" if options.quick else "3"]
                result = subprocess.run(command, check=not stage.startswith("hf"), capture_output=True, text=True)
                found = {"failed": result.stderr.strip().splitlines()[-1].split(":")[0]} if result.returncode else None
                rows.append({"case": case, "stage": stage, **(found or json.loads(result.stdout))})
            if first:
                command = [sys.executable, "-c", _TURNS, folder, "1" if options.quick else "5"]
                turns = subprocess.run(command, check=True, capture_output=True, text=True).stdout
                rows.append({"case": case, "stage": "decompose and encode in turns", **json.loads(turns)})
    return [*rows, equality(20 if options.quick else 1000)]


def equality(count: int) -> dict[str, Any]:
    """Pictures of all shapes and modes: the largest difference to Pillow and to hf-processors-rs, in grey levels."""
    from fastconcept.bundle import Preprocess
    from fastconcept.encoders.decode import load_image
    from fastconcept.encoders.preprocess import placement, preprocess_image
    from fastconcept.kernels.arguments import columns_first

    rng, half = np.random.default_rng(0), (0.5, 0.5, 0.5)
    config = Preprocess((224, 224), half, half)
    processor = None
    if importlib.util.find_spec("hf_processors_rs") is not None:
        import hf_processors_rs

        processor = hf_processors_rs.AutoImageProcessor.from_dict(hf_config(config), backend="pil")
    worst = {"Pillow": 0.0, "hf-processors-rs": 0.0}
    compared = (
        0  # with hf-processors-rs, which rounds half a pixel of the centre down, and always takes the width first
    )
    for index in range(count):
        height, width = (int(side) for side in np.exp(rng.uniform(np.log(8), np.log(900), 2)))
        mode = ("RGB", "L", "P", "RGBA", "CMYK", "1", "LA", "I;16")[index % 8]
        picture = Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        picture = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257) if mode == "I;16" else (
            picture.convert(mode)
        )  # fmt: skip
        pixels = load_image(picture)
        ours = preprocess_image(pixels, config)
        (tall, wide), (top, left) = placement(height, width, config)
        whole = Image.fromarray(pixels).resize((wide, tall), Image.Resampling.BICUBIC)
        window = np.asarray(whole.crop((left, top, left + 224, top + 224)), np.float32).transpose(2, 0, 1)
        expected = (window / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
        worst["Pillow"] = max(worst["Pillow"], float(np.abs(ours - expected).max()) * 127.5)
        alike = (top, left) == ((tall - 224) // 2, (wide - 224) // 2) and not columns_first(height, width, tall, wide)
        if processor is not None and alike:
            compared += 1
            theirs = processor([pixels])[0]
            worst["hf-processors-rs"] = max(worst["hf-processors-rs"], float(np.abs(ours - theirs).max()) * 127.5)
    return {
        "case": f"{count} pictures of 8 modes",
        "stage": "pixels",
        "max_abs_diff": worst["Pillow"],
        "hf_max_abs_diff": worst["hf-processors-rs"] if processor is not None else None,
        "hf_compared": compared,
    }


SUITES = {"files": run}
