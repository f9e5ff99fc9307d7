"""Models the suites run: the development model's bundle, and a ViT-B/32 with seeded random weights."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

CACHE = Path(".cache/benchmarks")


def teacher_bundle(options: Any) -> Path | None:
    """The development model as a bundle (exported once into ``.cache``), or None where its data is absent."""
    if options.bundle is not None:
        return Path(options.bundle)
    if options.teacher is None:
        return None
    target = CACHE / "teacher"
    if not (target / "manifest.json").is_file():
        from fastconcept.export import Contents, export_open_clip

        reference = options.shared / "reference"
        target.parent.mkdir(parents=True, exist_ok=True)
        contents = Contents(
            words=reference / "physical_objects.txt",
            vocabulary=reference / "splice/laion.txt",
            mean_images=options.shared / "data/dev/images",
            mean_limit=300,
        )
        export_open_clip(f"local-dir:{options.teacher}", target, contents=contents)
    return target


def random_vit_b_32() -> Path:
    """ONNX file of a ViT-B/32 image encoder with random weights: its speed is that of a trained one."""
    target = CACHE / "vit_b_32_random.onnx"
    if not target.is_file():
        import open_clip
        import torch

        from fastconcept.export.clip import load_clip
        from fastconcept.export.onnx import write_image_tower

        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            torch.manual_seed(0)
            config = open_clip.get_model_config("ViT-B-32")
            model = load_clip(_local_checkpoint(open_clip.create_model("ViT-B-32"), config, Path(folder)))
            write_image_tower(model, Path(folder) / "image_encoder.onnx")
            (Path(folder) / "image_encoder.onnx").rename(target)
    return target


def _local_checkpoint(model: Any, config: dict[str, Any], folder: Path) -> str:
    """Write a model as an open_clip ``local-dir:`` checkpoint."""
    import json

    from safetensors.torch import save_file

    document = {"model_cfg": config, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(document))
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def random_units(rows: int, columns: int, seed: int = 0) -> np.ndarray:
    """(rows, columns) float32 unit rows."""
    values = np.random.default_rng(seed).standard_normal((rows, columns), np.float32)
    return values / np.linalg.norm(values, axis=1, keepdims=True)
