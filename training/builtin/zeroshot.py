"""Zero-shot accuracy on the labelled evaluation photographs: the number that training logs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def crop_and_resize(image: Image.Image, size: int) -> Image.Image:
    """Resize the short side bicubically and cut the centre, as open_clip's ``shortest`` preprocessing does."""
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    image = image.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return image.crop((left, top, left + size, top + size))


def load_views(
    shared: Path, out: Path, size: int, mean: list[float], std: list[float], subset: str = "ilsvrc_val"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return normalised photographs (n, 3, size, size) and their ImageNet-1k classes (n,)."""
    path = out / f"views_{subset}_{size}.npz"
    if not path.exists():
        dev = shared / "data" / "dev"
        entries = json.loads((dev / "annotations.json").read_text())
        entries = [e for e in entries if e["subset"].startswith(subset) and "imagenet_index" in e]
        pixels = [np.asarray(crop_and_resize(Image.open(dev / e["file"]), size)) for e in entries]
        np.savez(path, pixels=np.stack(pixels), classes=np.array([e["imagenet_index"] for e in entries]))
    with np.load(path) as archive:
        images = torch.from_numpy(archive["pixels"]).permute(0, 3, 1, 2).float() / 255
        classes = torch.from_numpy(archive["classes"]).long()
    return (images - torch.tensor(mean).view(1, 3, 1, 1)) / torch.tensor(std).view(1, 3, 1, 1), classes


def top1(embeddings: torch.Tensor, texts: torch.Tensor, classes: torch.Tensor) -> float:
    """Return the share of embeddings whose best text is that of their class."""
    return float(((embeddings @ texts.T).argmax(1).cpu() == classes).float().mean())
