"""Pictures and texts to embeddings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Sized
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..doors import door, iterable
from ..encoders.decode import is_single_image, load_image
from ..encoders.pipeline import Reader, prepared_batches
from ..encoders.returned import check_directions
from ..errors import ImageError, InputError
from ..kernels import arguments
from .opened import FloatArray, Opened

if TYPE_CHECKING:
    from ..encoders.decode import ImageLike

_COPIED = 32  # images that are preprocessed at a time where their number is not known


class Encoding(Opened):
    """The encoders of an engine."""

    def load_image(self, image: ImageLike) -> npt.NDArray[np.uint8]:
        """Decode an image to (H, W, 3) uint8 RGB under this engine's pixel limit."""
        return load_image(image, self.parts.max_pixels)

    @door
    def preprocess(self, images: ImageLike | Iterable[ImageLike], *, out: FloatArray | None = None) -> FloatArray:
        """Images as the encoder takes them, for people who have an encoder of their own.

        Threads decode and preprocess; the pixels are those of open_clip's evaluation transform with Pillow 13.

        Parameters
        ----------
        images : image, or iterable of n images
            See :func:`fastconcept.encoders.decode.load_image`.
        out : (n, 3, h, w) float32, optional
            Array to write to, so that a caller can use one buffer again and again; for a list of images.

        Returns
        -------
        (n, 3, h, w) float32, in host memory
            ``(pixel / 255 - mean) / std``, as the bundle says; n is 1 for a single image.

        Raises
        ------
        ImageError
            If an image cannot be read; the error names its file or its position.
        InputError
            If ``out`` has another type or shape.

        Examples
        --------
        >>> import fastconcept as fc
        >>> picture = np.zeros((48, 64, 3), np.uint8)
        >>> fc.load().preprocess([picture, picture]).shape
        (2, 3, 224, 224)
        """
        several: Any = [images] if is_single_image(images) else iterable("images", images)
        count = len(several) if hasattr(several, "__len__") else None
        if out is not None:
            if count is None:
                raise InputError("out needs a list of images, whose number is known")
            out = arguments.output("out", out, (count, 3, *self.parts.preprocess.size))
        batches = [
            pixels if count is not None else pixels.copy()
            for pixels, _ in prepared_batches(several, self._reader(), max(count or _COPIED, 1), buffer=out)
        ]
        empty = np.empty((0, 3, *self.parts.preprocess.size), np.float32)
        return batches[0] if len(batches) == 1 else np.concatenate([empty, *batches])

    def encode_image(self, images: ImageLike | Iterable[ImageLike]) -> FloatArray:
        """Embed whole images, preprocessed as open_clip does.

        Parameters
        ----------
        images : image, or iterable of images
            See :func:`fastconcept.encoders.decode.load_image`. They are decoded batch by batch.

        Returns
        -------
        (n, d) float32, unit rows
        """
        with self.place:
            several: Any = [images] if is_single_image(images) else images
            parts = [rows for rows, _ in self.encode_batches(several)]
            return np.concatenate(parts) if parts else np.empty((0, self.parts.embedding_dim), np.float32)

    @door
    def encode_batches(
        self,
        images: Iterable[ImageLike],
        *,
        on_error: Callable[[int, ImageError], object] | None = None,
        on_device: bool = False,
    ) -> Iterator[tuple[FloatArray, list[int]]]:
        """Embed whole images batch by batch, so that memory does not grow with their number.

        This is the one place where images are batched. Threads read, decode and preprocess further images while the
        encoder works on a batch; ``num_threads`` of :func:`fastconcept.load` says how many.

        Parameters
        ----------
        images : iterable of images
        on_error : callable, optional
            Called with the position of an image that cannot be read and the reason; the image is left out. By default
            the error is raised, and names the file or the position of the image.
        on_device : bool
            Leave the rows where the encoder made them: on a GPU, arrays of CuPy.

        Yields
        ------
        rows, positions
            (m, d) float32 unit rows, and which of the images they belong to.
        """
        encoder, reader = self.image_encoder, replace(self._reader(), allocate=self._staged)
        stream = iterable("images", images)  # first: arrays without dimensions claim a length and have none
        size = max(1, min(encoder.batch_size, len(images))) if isinstance(images, Sized) else encoder.batch_size
        for pixels, positions in prepared_batches(stream, reader, size, on_error):
            with self.place:
                rows = encoder.encode(self.kernels.upload_staged(pixels))
                if not on_device:  # encoders of a GPU leave the check to what reads their rows: here the caller
                    rows = self.kernels.to_host(rows)
                    check_directions(bool(np.isfinite(rows).all()))
            yield rows, positions

    def _staged(self, shape: tuple[int, ...]) -> FloatArray:
        with self.place:
            return self.kernels.staged(shape)

    def _reader(self) -> Reader:
        load = self.load_image
        if self.parts.decode == "fast":
            load = partial(load_image, max_pixels=self.parts.max_pixels, short_side=2 * max(self.parts.preprocess.size))
        return Reader(load, self.parts.preprocess, self.num_threads)

    @door
    def encode_text(self, texts: str | Sequence[str]) -> FloatArray:
        """Embed texts as they are, without a template.

        Returns
        -------
        (n, d) float32, unit rows
        """
        with self.place:
            rows: FloatArray = self.kernels.to_host(self._embed_texts(texts))
        return rows

    def _embed_texts(self, texts: str | Sequence[str]) -> Any:
        """Rows of texts, on the device."""
        return self.text_encoder.encode([texts] if isinstance(texts, str) else list(texts))

    def _text_notes(self, texts: Sequence[str]) -> list[str]:
        """For each text, how it was understood; empty where nothing had to be decided."""
        tokenizer = getattr(self.text_encoder, "tokenizer", None)
        if tokenizer is None:
            return [""] * len(texts)
        note = f"only its first {tokenizer.context_length} tokens are read"
        return [note if cut else "" for cut in tokenizer.cut_off(texts)]
