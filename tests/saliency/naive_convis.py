"""ConVis word for word: every patch, a full sort, one addition per pixel. Slow on purpose; the judge of our maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image


def square_224(image: np.ndarray) -> np.ndarray:
    """Centre-crop to a square and resize to 224 x 224."""
    picture = Image.fromarray(image)
    side = min(picture.size)
    left, top = round((picture.width - side) / 2.0), round((picture.height - side) / 2.0)
    cropped = picture.crop((left, top, left + side, top + side))
    return np.asarray(cropped.resize((224, 224), Image.Resampling.BICUBIC))


def naive_maps(
    image: np.ndarray,
    encode: Callable[[list[Image.Image]], np.ndarray],
    bank: np.ndarray,
    subtrees: Sequence[np.ndarray],
    seed: int,
    stride: int = 16,
) -> np.ndarray:
    """The reference's grid procedure.

    Parameters
    ----------
    image : (H, W, 3) uint8
    encode : list of square Pillow images to unit rows (n, d)
    bank : (N, d) unit rows
    subtrees : for every concept the rows of its subtree
    seed : of the noise around the image
    stride : pixels between patches

    Returns
    -------
    (k, 224, 224) float64
        ``1 - minmax(sum of ranks)``; a constant sum gives ones.
    """
    padded = np.random.default_rng(seed).integers(0, 256, (480, 480, 3), dtype=np.uint8)
    padded[128:352, 128:352] = square_224(image)
    canvas = Image.fromarray(padded)
    sums, exact = np.zeros((len(subtrees), 480, 480)), bank.astype(np.float64)
    for size in (128, 64):
        corners = [(x, y) for y in range(0, 480, stride) for x in range(0, 480, stride)]
        assert len(corners) == (480 // stride) ** 2
        embeddings = encode([canvas.crop((x, y, x + size, y + size)) for x, y in corners])
        for (x, y), embedding in zip(corners, embeddings, strict=True):
            similarities = exact @ embedding.astype(np.float64)
            by_similarity = np.sort(similarities)[::-1]
            for index, members in enumerate(subtrees):
                best = similarities[members].max()
                rank = int(np.argmax(by_similarity <= best))  # how many are strictly greater
                sums[index, y : y + size, x : x + size] += rank
    centre = sums[:, 128:352, 128:352]
    low, high = centre.min(axis=(1, 2), keepdims=True), centre.max(axis=(1, 2), keepdims=True)
    return 1.0 - (centre - low) / np.where(high > low, high - low, 1.0)
