"""The photographs that the built-in model learns from: two packs of small JPEG files in tar shards.

``train`` (labels only) and ``train2`` (captions, boxes, scenes) lie under one directory, each with its README. Nothing
of them is written into the repository.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

PACKS = ("train2", "train")
_TOO_SMALL = "tiny_imagenet"  # 64 px: the trunk sees other things in them than in photographs


@dataclass(frozen=True)
class Photograph:
    """One JPEG file of a pack; `key` is its name and begins with the name of its source."""

    pack: str
    key: str
    data: bytes

    def open(self) -> Image.Image:
        """Return the decoded photograph in RGB."""
        return Image.open(io.BytesIO(self.data)).convert("RGB")


def photographs(shared: Path, pack: str) -> Iterator[Photograph]:
    """Yield the photographs of a pack in the order of its shards, those of 64 px left out."""
    for shard in sorted((shared / pack).glob("shard-*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive:
                key = member.name.removesuffix(".jpg")
                if not key.startswith(_TOO_SMALL):
                    file = archive.extractfile(member)
                    assert file is not None
                    yield Photograph(pack, key, file.read())


def centre(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Return the centre square at `size` pixels: short side resized bicubically, then cut, as at run time."""
    scale = size / min(image.size)
    width, height = (max(size, round(side * scale)) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.asarray(image.crop((left, top, left + size, top + size)))


def random_crop(image: Image.Image, size: int, area: tuple[float, float], seed: str) -> NDArray[np.uint8]:
    """Return a random square of `area` (shares of the largest square there is), mirrored half the time.

    Examples
    --------
    >>> random_crop(Image.new("RGB", (40, 30)), 8, (0.5, 1.0), "a seed").shape
    (8, 8, 3)
    """
    draw = np.random.default_rng(list(seed.encode()))
    side = min(image.size) * float(np.sqrt(draw.uniform(*area)))
    left, top = draw.uniform(0, image.width - side), draw.uniform(0, image.height - side)
    box = (left, top, min(left + side, image.width), min(top + side, image.height))
    crop = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    if draw.random() < 0.5:
        crop = crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return np.asarray(crop)


def captions(shared: Path) -> dict[str, list[str]]:
    """Return the human captions of both packs by key."""
    return {
        key: rows for pack in PACKS for key, rows in json.loads((shared / pack / "captions.json").read_text()).items()
    }
