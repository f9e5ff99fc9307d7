"""The 730 patches of ConVis to 224 x 224, beside the loop over Pillow and torchvision's antialiased resize."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.timing import medians_ms
from fastconcept.kernels import cpu

SIZE = (224, 224)
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
STD = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)


def convis_boxes() -> np.ndarray:
    """Patches of side 128 and 64, stride 16, of a padded 480 x 480 image that touch its central 224 x 224."""
    boxes = [(x, y, x + s, y + s) for s in (128, 64) for y in range(0, 481 - s, 16) for x in range(0, 481 - s, 16)]
    return np.array([b for b in boxes if b[0] < 352 and b[1] < 352 and b[2] > 128 and b[3] > 128], np.int32)


def pillow_loop(image: np.ndarray, boxes: np.ndarray, out: np.ndarray) -> np.ndarray:
    """As the reference procedure does it: cut out, resize, to a float array of channels, normalise."""
    whole = Image.fromarray(image)
    for result, box in zip(out, boxes.tolist(), strict=True):
        patch = whole.crop(box).resize((SIZE[1], SIZE[0]), Image.Resampling.BICUBIC)
        pixels = np.asarray(patch).transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        result[:] = (pixels - MEAN[:, None, None]) / STD[:, None, None]
    return out


def torchvision_loop(image: np.ndarray, boxes: np.ndarray) -> np.ndarray | None:
    """torchvision's resize of uint8 tensors, antialiased, normalised; None where it is not installed."""
    try:
        import torch
        from torchvision.transforms.v2 import InterpolationMode, functional
    except ImportError:
        return None
    tensor = torch.from_numpy(image).permute(2, 0, 1).contiguous()
    patches = [
        functional.resize(tensor[:, y0:y1, x0:x1], list(SIZE), InterpolationMode.BICUBIC, antialias=True)
        for x0, y0, x1, y1 in boxes.tolist()
    ]
    pixels = torch.stack(patches).float() / 255
    return functional.normalize(pixels, MEAN.tolist(), STD.tolist(), inplace=True).numpy()


def run(options: Any) -> list[dict[str, Any]]:
    """One row per peer. ``max_abs_diff`` is in grey levels of 255 against Pillow."""
    boxes = convis_boxes()[:: 40 if options.quick else 1].copy()
    image = np.random.default_rng(0).integers(0, 256, (480, 480, 3), dtype=np.uint8)
    out, theirs = (np.empty((len(boxes), 3, *SIZE), np.float32) for _ in range(2))
    functions: dict[str, Callable[[], Any]] = {
        "ours": lambda: cpu.resize_patches(image, boxes, SIZE, MEAN, STD, out=out),
        "Pillow loop": lambda: pillow_loop(image, boxes, theirs),
    }
    results = {"ours": out, "Pillow loop": theirs}
    torchvision = torchvision_loop(image, boxes)
    if torchvision is not None:
        results["torchvision antialias"] = torchvision
        functions["torchvision antialias"] = lambda: torchvision_loop(image, boxes)
    times = medians_ms(functions, 1 if options.quick else 5)
    levels = 255 * STD[:, None, None]
    ours_off = float(np.abs((out - theirs) * levels).max())
    return [
        {
            "case": f"{len(boxes)} boxes of 128 and 64 to {SIZE[0]}",
            "ours_ms": times["ours"],
            "peer": peer,
            "peer_ms": times[peer],
            "ratio": times[peer] / times["ours"],
            "max_abs_diff": ours_off,
            "peer_max_abs_diff": float(np.abs((results[peer] - theirs) * levels).max()),
        }
        for peer in functions
        if peer != "ours"
    ]


SUITES = {"resize": run}
