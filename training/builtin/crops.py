"""Training crops made on tensors: any box of a photograph, noise outside it, mixtures, colours; with soft labels.

ConVis asks the encoder about patches of 64 and 128 px of a 224-px photograph, padded with uniform noise. So crops
cover 8 % to 100 % of the area, some reach beyond the photograph and see noise there, a few see only noise, and some
carry a second photograph pasted in. What a crop shows decides its label: the teacher's evidence in the cells under it
(`regions`), blended with the label of the whole photograph in proportion to the share of it that is seen. The cells
saw a 128-px copy, the label of the whole was read from the original; its square root therefore serves as a prior for
the cells.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from .photos import Photos
from .regions import STEP, region_weights


class Batch(NamedTuple):
    """Crops and what they show.

    Attributes
    ----------
    images : (n, 3, resolution, resolution) float32
        Normalised.
    labels : (n, 1000) float32
        Class probabilities.
    known : (m,) int64
        Crops whose logits are known: of large photographs, more than half of them photograph, nothing pasted in.
    evidence : (m, 1000) float32
        Their logits: the teacher's evidence in the cells under the crop.
    """

    images: torch.Tensor
    labels: torch.Tensor
    known: torch.Tensor
    evidence: torch.Tensor


class Batches(torch.utils.data.IterableDataset[Batch]):
    """Batches of crops without end, for a loader whose worker makes them while the tower trains.

    Parameters
    ----------
    make : callable
        Called once, in the worker, with no argument; returns the crops.
    size : int
        Crops of a batch.
    resolution : Tensor
        One integer in shared memory, read before each batch.
    """

    def __init__(self, make: Callable[[], Crops], size: int, resolution: torch.Tensor) -> None:
        self._make, self._size, self._resolution = make, size, resolution

    def __iter__(self) -> Iterator[Batch]:
        """Yield batches."""
        crops = self._make()
        while True:
            yield crops.batch(self._size, int(self._resolution))


def rarity(probabilities: NDArray[np.float16], known: NDArray[np.float32], power: float) -> NDArray[np.float64]:
    """Return how often each photograph is drawn so that classes with few photographs are seen more often.

    Parameters
    ----------
    probabilities : (n, 1000) float16
        What each photograph shows.
    known : (1000,) float32
        Their mean.
    power : float in [0, 1]
        0 draws all photographs alike, 1 would draw all classes alike. None is drawn more than three times as often
        as the average one, or less than a third.

    Returns
    -------
    (n,) float64, sums to 1
    """
    weights = np.asarray(probabilities @ (known.mean() / known.clip(1e-6)).astype(np.float32) ** power, np.float64)
    weights = (weights / weights.mean()).clip(1 / 3, 3)
    chance: NDArray[np.float64] = weights / weights.sum()
    return chance


class Crops:
    """An endless stream of crops.

    Parameters
    ----------
    photos : Photos
        The photographs.
    settings : dict
        The ``image`` part of the configuration.
    mean, std : list of float
        Normalisation of the three channels in [0, 1].
    seed : int
        Seed of this stream.
    device : str
        Where crops are made.
    """

    def __init__(
        self,
        photos: Photos,
        settings: dict[str, Any],
        mean: list[float],
        std: list[float],
        seed: int,
        device: str,
    ) -> None:
        self._photos, self._settings, self._device = photos, settings, device
        self._draw = np.random.default_rng(seed)
        self._noise = torch.Generator(device=device).manual_seed(seed)
        self._mean = torch.tensor(mean, device=device).view(1, 3, 1, 1)
        self._std = torch.tensor(std, device=device).view(1, 3, 1, 1)
        given = photos.probabilities[np.arange(len(photos.probabilities))]
        known = np.asarray(given.mean(0, dtype=np.float32))
        self._chance = rarity(given, known, settings["balance"])
        self._prior = torch.from_numpy(0.5 * known / known.sum() + 0.5 / 1000).to(device)
        self._deck = np.empty(0, np.int64)

    def batch(self, size: int, resolution: int) -> Batch:
        """Return crops of `resolution` pixels, first those of large photographs, then those of small ones."""
        small = round(size * self._settings["small_photo_share"])
        images, labels, visible, evidence = self._large(size - small, resolution)
        more_images, more_labels = self._small(small, resolution)
        images, labels, mixed = self._mix(torch.cat([images, more_images]), torch.cat([labels, more_labels]))
        known = torch.nonzero((visible > 0.5) & ~mixed[: len(visible)])[:, 0]
        images = (self._colour(images) - self._mean) / self._std
        return Batch(images.contiguous(memory_format=torch.channels_last), labels, known, evidence[known])

    def _deal(self, count: int) -> Any:
        """Draw small photographs without replacement until every one was seen."""
        while len(self._deck) < count:
            self._deck = np.concatenate([self._deck, self._draw.permutation(len(self._photos.small))])
        dealt, self._deck = self._deck[:count], self._deck[count:]
        return np.sort(dealt)

    def _boxes(self, count: int, low: float, high: float, border: float) -> torch.Tensor:
        share, least = self._settings["large_crops"]
        least = np.where(self._draw.random(count) < share, np.maximum(least, low), low)
        area = np.exp(self._draw.uniform(np.log(least), math.log(high)))
        shape = np.exp(self._draw.uniform(-0.25, 0.25, count))
        width, height = np.minimum(np.sqrt(area * shape), 1), np.minimum(np.sqrt(area / shape), 1)
        left, top = (1 - width) * self._draw.random(count), (1 - height) * self._draw.random(count)
        out = self._draw.random(count) < border
        side = np.where(out, np.sqrt(area) * self._draw.uniform(1, 1.4, count), 0)
        width, height = np.where(out, side, width), np.where(out, side, height)
        left = np.where(
            out, self._draw.uniform(-0.6, 1.6, count) * (1 - width) - 0.2 * self._draw.normal(size=count), left
        )
        top = np.where(
            out, self._draw.uniform(-0.6, 1.6, count) * (1 - height) - 0.2 * self._draw.normal(size=count), top
        )
        return torch.from_numpy(np.stack([left, top, left + width, top + height], 1)).float().to(self._device)

    def _cut(self, pixels: torch.Tensor, boxes: torch.Tensor, resolution: int) -> torch.Tensor:
        """Sample boxes of photographs bilinearly (mirrored at random); outside them is uniform noise."""
        count = len(pixels)
        images = pixels.permute(0, 3, 1, 2).float().div_(255)
        flip = torch.from_numpy(np.where(self._draw.random(count) < 0.5, -1.0, 1.0)).float().to(self._device)
        theta = torch.zeros(count, 2, 3, device=self._device)
        theta[:, 0, 0] = (boxes[:, 2] - boxes[:, 0]) * flip
        theta[:, 1, 1] = boxes[:, 3] - boxes[:, 1]
        theta[:, 0, 2] = boxes[:, 2] + boxes[:, 0] - 1
        theta[:, 1, 2] = boxes[:, 3] + boxes[:, 1] - 1
        grid = torch.nn.functional.affine_grid(theta, [count, 3, resolution, resolution], align_corners=False)
        found = torch.nn.functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
        outside = (grid.abs() > 1).any(-1)
        touched = outside.flatten(1).any(1)
        if touched.any():
            number = int(touched.sum())
            side = resolution if self._draw.random() < 0.5 else resolution * 2 // 3
            noise = torch.rand(number, 3, side, side, generator=self._noise, device=self._device)
            noise = torch.nn.functional.interpolate(noise, size=resolution, mode="bilinear")
            found[touched] = torch.where(outside[touched][:, None], noise, found[touched])
        return found

    def _large(self, count: int, resolution: int) -> tuple[torch.Tensor, ...]:
        """Return images, labels, which share of each is photograph, and the teacher's logits of that share."""
        rows = np.sort(self._draw.choice(len(self._photos.large), count, p=self._chance))
        low, high = self._settings["crop_area"]
        boxes = self._boxes(count, low, high, self._settings["noise_border"])
        alone = self._draw.random(count) < self._settings["pure_noise"]
        boxes[torch.from_numpy(alone).to(self._device)] += 3.0
        images = self._cut(torch.from_numpy(self._photos.large[rows]).to(self._device), boxes, resolution)
        weights = region_weights(boxes)
        evidence = torch.from_numpy(np.asarray(self._photos.regions[rows])).to(self._device).float()
        given = torch.from_numpy(np.asarray(self._photos.probabilities[rows])).to(self._device).float()
        logits = STEP * torch.einsum("nc,nck->nk", weights, evidence)
        local = logits + 0.5 * (given + 0.01).log()
        inside = boxes.clamp(0, 1)
        seen = (inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])
        whole = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        label = seen[:, None] * given + (1 - seen[:, None]) * local.softmax(1)
        share = (seen / whole).clamp(0, 1)
        visible = share.sqrt()[:, None]
        return images, visible * label + (1 - visible) * self._prior, share, logits

    def _small(self, count: int, resolution: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = self._deal(count)
        boxes = self._boxes(count, 0.3, 1.0, 0.15)
        images = self._cut(torch.from_numpy(self._photos.small[rows]).to(self._device), boxes, resolution)
        labels = (0.15 * self._prior).repeat(count, 1)
        classes = torch.from_numpy(np.asarray(self._photos.small_classes[rows]).astype(np.int64)).to(self._device)
        labels[torch.arange(count), classes] += 0.85
        inside = boxes.clamp(0, 1)
        seen = (inside[:, 2] - inside[:, 0]) * (inside[:, 3] - inside[:, 1])
        whole = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        visible = (seen / whole).clamp(0, 1).sqrt()[:, None]
        return images, visible * labels + (1 - visible) * self._prior

    def _mix(self, images: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Paste a shrunken other crop into some crops; labels mix by area. Return also which were pasted into."""
        count, resolution = len(images), images.shape[-1]
        mixed = torch.from_numpy(self._draw.random(count) < self._settings["mixture"]).to(self._device)
        here = torch.nonzero(mixed)[:, 0]
        if len(here) == 0:
            return images, labels, mixed
        side = int(resolution * self._draw.uniform(0.35, 0.75))
        top, left = self._draw.integers(0, resolution - side + 1, 2)
        other = torch.from_numpy(self._draw.permutation(count)[: len(here)]).to(self._device)
        pasted = torch.nn.functional.interpolate(images[other], size=side, mode="bilinear", antialias=True)
        share = side * side / resolution**2
        blended = labels.clone()
        blended[here] = (1 - share) * labels[here] + share * labels[other]
        images = images.clone()
        images[here, :, top : top + side, left : left + side] = pasted
        return images, blended, mixed

    def _colour(self, images: torch.Tensor) -> torch.Tensor:
        count = len(images)

        def factor(spread: float) -> torch.Tensor:
            return (
                torch.from_numpy(self._draw.uniform(1 - spread, 1 + spread, (count, 1, 1, 1))).float().to(self._device)
            )

        images = images * factor(0.25)
        middle = images.mean((1, 2, 3), keepdim=True)
        images = middle + (images - middle) * factor(0.25)
        grey = images.mean(1, keepdim=True)
        images = grey + (images - grey) * factor(0.3)
        return images.clamp_(0, 1)
