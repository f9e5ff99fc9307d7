"""The image tower as explanations use it: an encoder, its preprocessing, and the kernels that cut and resize pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ..bundle import Preprocess
from ..kernels.contract import Kernels
from ..timings import Timings
from .dense import DenseEncoder
from .preprocess import preprocess_images
from .split import SplitEncoder


class ImageEncoder(Protocol):
    """From preprocessed pixels to embeddings."""

    batch_size: int

    def encode(self, pixels: Any) -> Any:
        """(n, 3, h, w) float32 to unit rows (n, d) float32, on the device where the pixels are."""


@dataclass(frozen=True)
class ImageTower:
    """An image encoder with everything that stands between an image and its embedding.

    Attributes
    ----------
    encoder : ImageEncoder
    preprocess : Preprocess
        Input size and normalisation of the encoder.
    kernels : Kernels
        The backend of the device where images and embeddings live.
    num_threads : int, optional
        CPU threads of the kernels; None means all the control group grants.
    split : SplitEncoder, optional
        The encoder in two parts, where it pools a feature map.
    dense : DenseEncoder, optional
        The encoder with a row for every token, where it is a transformer or pools by attention.
    mode : str
        The mode of evidence that this is for, by its full name; empty for whatever a layout says.
    """

    encoder: ImageEncoder
    preprocess: Preprocess
    kernels: Kernels
    num_threads: int | None = None
    split: SplitEncoder | None = None
    dense: DenseEncoder | None = None
    mode: str = ""

    @property
    def patch_size(self) -> tuple[int, int]:
        """Height and width in pixels at which a patch is looked at."""
        return self.preprocess.patch_size or self.preprocess.size

    def prepared(self, images: Sequence[Any], out: Any = None) -> Any:
        """Decoded images as the encoder takes them.

        Parameters
        ----------
        images : sequence of n (H, W, 3) uint8
            Where the kernels read them: ``kernels.upload(pixels)``.
        out : (n, 3, h, w) float32, optional
            Array to write to.

        Returns
        -------
        (n, 3, h, w) float32, on the device
        """
        return preprocess_images(images, self.preprocess, self.kernels, out=out, num_threads=self.num_threads)

    def resized(self, image: Any, boxes: npt.NDArray[np.int32], size: tuple[int, int]) -> Any:
        """Boxes of an image, (n, 4) int32 in pixels, as the encoder takes them: (n, 3, *size) float32, normalised."""
        mean, std = (np.asarray(values, np.float32) for values in (self.preprocess.mean, self.preprocess.std))
        interpolation = self.preprocess.interpolation
        return self.kernels.resize_patches(image, boxes, size, mean, std, interpolation, num_threads=self.num_threads)

    def encode_boxes(self, image: Any, boxes: npt.NDArray[np.int32], timings: Timings) -> Any:
        """Embed boxes of one image in batches of the encoder's size, so that memory does not grow with their number.

        Parameters
        ----------
        image : (H, W, 3) uint8, on the device
        boxes : (n, 4) int32
            x0, y0, x1, y1 in pixels of the image.
        timings : Timings
            Where the stages ``preprocess`` and ``encode`` are added.

        Returns
        -------
        (n, d) float32 unit rows, on the device
        """
        parts = []
        for start in range(0, len(boxes), self.encoder.batch_size):
            batch = boxes[start : start + self.encoder.batch_size]
            with timings.stage("preprocess"):
                pixels = self.resized(image, batch, self.patch_size)
            with timings.stage("encode"):
                parts.append(self.encoder.encode(pixels))
        return np.concatenate(parts)
