"""Encoders that run a bundle's ONNX files with ONNX Runtime."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BundleError, InputError
from . import session
from .providers import create_session, first_line
from .tokenizer import Tokenizer

if TYPE_CHECKING:
    from .providers import Provider

    Progress = Callable[[int, int], None]

IMAGE_BATCH = 16  # images per run of the encoder
TOKEN_BATCH = 4  # pictures per run of a dense tower, whose attention is written out
_UNIT = 0.01  # largest error of a row's length; float16 stays below 0.001
TEXT_BATCH_TOKENS = 1024  # tokens, padding included, per run of the encoder


def check_rows(path: str, rows: Any, batch: Any) -> None:
    """Check what an encoder returned for a batch: finite numbers; and unit length, unless they are maps (n, c, h, w).

    Raises
    ------
    InputError
        If the batch itself is not finite.
    BundleError
        If the encoder is to blame.
    """
    if not np.isfinite(rows).all():
        if not np.isfinite(batch).all():
            raise InputError(f"{path} returned values that are not finite, because its input is not")
        raise BundleError(f"{path} returned values that are not finite; its weights are damaged")
    if rows.ndim != 4 and np.abs(np.linalg.norm(rows, axis=-1) - 1).max(initial=0) > _UNIT:
        raise BundleError(f"{path} returned rows that are not of unit length; export the model again")


class _OnnxEncoder:
    """One input, one output: (batch, dim), (batch, dim, h, w) or (batch, tokens, dim); what encoders share."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        dim: int,
        providers: Sequence[Provider] | None,
        num_threads: int | None,
        input_rank: int,
        output_rank: int = 2,
        row_axis: int = 1,
    ) -> None:
        self._path = os.fspath(path)
        self._session = session.Session(lambda: create_session(path, providers, num_threads))
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1 or len(inputs[0].shape) != input_rank:
            raise BundleError(f"{self._path} is not an encoder of one input and one output; export the model again")
        width = outputs[0].shape[row_axis] if len(outputs[0].shape) == output_rank else None
        if width != dim and isinstance(width, int):
            raise BundleError(f"{self._path} returns rows of {width}, the manifest says {dim}; export the model again")
        if outputs[0].type != "tensor(float)":
            raise BundleError(f"{self._path} returns {outputs[0].type}, expected float32; export the model again")
        self.dim = dim
        self._input, self._output = inputs[0], outputs[0].name

    @property
    def providers(self) -> list[str]:
        """The execution providers in use, the first is the one asked for."""
        return list(self._session.get_providers())

    def _namespace(self, array: object) -> Any:
        """The module of the functions for an array, or None for what is no array."""
        return np if isinstance(array, np.ndarray) else None

    def _run(self, batch: Any, target: Any) -> None:
        """Encode one batch into ``target`` and check what came out."""
        try:
            rows = self._session.run([self._output], {self._input.name: batch})[0]
        except Exception as error:
            raise BundleError(f"{self._path} failed on {batch.dtype} {batch.shape}: {first_line(error)}") from None
        if rows.shape != target.shape or rows.dtype != np.float32:
            raise BundleError(f"{self._path} returned {rows.dtype} {rows.shape}, expected float32 {target.shape}")
        check_rows(self._path, rows, batch)
        target[:] = rows


class ImageEncoder(_OnnxEncoder):
    """Preprocessed images to unit rows.

    Parameters
    ----------
    path : str or Path
        A bundle's image encoder.
    dim : int
        Width of its rows, from the manifest.
    providers : sequence, optional
        ONNX Runtime's ``providers=[...]``, unchanged; default the CPU. See :func:`device_providers`.
    num_threads : int, optional
        Threads on the CPU.

    Raises :class:`BundleError` when ``dim`` is not the model's, and what :func:`create_session` raises.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dim: int,
        providers: Sequence[Provider] | None = None,
        num_threads: int | None = None,
    ) -> None:
        super().__init__(path, dim, providers, num_threads, input_rank=4)
        sides = tuple(self._input.shape[2:])  # a side that the model leaves open has a name instead of a number
        self.size: tuple[int, int] | None = sides if all(isinstance(side, int) for side in sides) else None
        self.batch_size = IMAGE_BATCH

    def encode(self, pixels: Any, batch_size: int | None = None, out: Any = None) -> Any:
        """Encode images in bounded batches.

        Parameters
        ----------
        pixels : (n, 3, h, w) float32
            As :func:`fastconcept.encoders.preprocess.preprocess_image` returns them, stacked; n may be 0.
        batch_size : int, optional
            Images per run; by default ``self.batch_size``.
        out : (n, dim) float32, optional
            Where to write.

        Returns
        -------
        (n, dim) float32, C-contiguous
            Unit rows; ``out`` if given.

        Raises
        ------
        InputError
            If the shape or dtype is another, or a pixel is not finite.
        """
        xp = self._namespace(pixels)
        sides = self.size or tuple(getattr(pixels, "shape", ())[2:])
        if xp is None or pixels.ndim != 4 or pixels.shape[1:] != (3, *sides):
            given = getattr(pixels, "shape", type(pixels).__name__)
            raise InputError(f"pixels must be (n, 3, {', '.join(map(str, self.size or 'hw'))}), got {given}")
        if pixels.dtype != np.float32:
            raise InputError(f"pixels must be float32, got {pixels.dtype}")
        batch_size = self.batch_size if batch_size is None else batch_size
        if batch_size < 1:
            raise InputError(f"batch_size must be at least 1, got {batch_size}")
        shape = (len(pixels), self.dim)
        if out is None:
            out = xp.empty(shape, np.float32)
        elif out.shape != shape or out.dtype != np.float32:
            raise InputError(f"out must be float32 {shape}, got {out.dtype} {out.shape}")
        for start in range(0, len(pixels), batch_size):
            stop = start + batch_size
            self._run(xp.ascontiguousarray(pixels[start:stop]), out[start:stop])
        return out


class FeatureMaps(_OnnxEncoder):
    """The trunk of an image tower: pictures of any size that is a multiple of its stride, to feature maps.

    Parameters
    ----------
    path : str or Path
        A bundle's trunk.
    channels : int
        Channels of its maps, from the manifest.
    stride : int
        Pixels per cell of a map.
    providers, num_threads
        As for :class:`ImageEncoder`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        channels: int,
        stride: int,
        providers: Sequence[Provider] | None = None,
        num_threads: int | None = None,
    ) -> None:
        super().__init__(path, channels, providers, num_threads, input_rank=4, output_rank=4)
        self.stride = stride

    def encode(self, pixels: Any) -> Any:
        """(n, 3, H, W) float32 to (n, channels, H / stride, W / stride) float32."""
        xp = _pictures(self, pixels)
        height, width = (side // self.stride for side in pixels.shape[2:])
        maps = xp.empty((len(pixels), self.dim, height, width), np.float32)
        self._run(xp.ascontiguousarray(pixels), maps)
        return maps


class FeatureHead(_OnnxEncoder):
    """The head of an image tower: means over a feature map, to unit rows.

    Parameters
    ----------
    path, dim, providers, num_threads
        As for :class:`ImageEncoder`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dim: int,
        providers: Sequence[Provider] | None = None,
        num_threads: int | None = None,
    ) -> None:
        super().__init__(path, dim, providers, num_threads, input_rank=2)

    def encode(self, means: Any) -> Any:
        """(n, channels) float32 to (n, dim) float32."""
        xp = self._namespace(means)
        if xp is None:
            raise InputError(f"means must be an array (n, channels), got {type(means).__name__}")
        rows = xp.empty((len(means), self.dim), np.float32)
        if len(means):
            self._run(xp.ascontiguousarray(means), rows)
        return rows


class TokenRows(_OnnxEncoder):
    """An image tower that embeds every token: pictures of any size that is a multiple of its stride, to rows.

    Parameters
    ----------
    path : str or Path
        One of a bundle's dense towers.
    dim : int
        Width of its rows, from the manifest.
    stride : int
        Pixels per token.
    providers, num_threads
        As for :class:`ImageEncoder`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        dim: int,
        stride: int,
        providers: Sequence[Provider] | None = None,
        num_threads: int | None = None,
    ) -> None:
        super().__init__(path, dim, providers, num_threads, input_rank=4, output_rank=3, row_axis=2)
        self.stride, self.batch_size = stride, TOKEN_BATCH

    def encode(self, pixels: Any) -> Any:
        """(n, 3, H, W) float32 to unit rows (n, 1 + h w, dim): of the whole picture, then of its tokens."""
        xp = _pictures(self, pixels)
        height, width = (side // self.stride for side in pixels.shape[2:])
        rows = xp.empty((len(pixels), 1 + height * width, self.dim), np.float32)
        self._run(xp.ascontiguousarray(pixels), rows)
        return rows


def _pictures(encoder: FeatureMaps | TokenRows, pixels: Any) -> Any:
    """The module of the functions for pictures of whole cells.

    Raises
    ------
    InputError
        If they are something else.
    """
    xp, stride = encoder._namespace(pixels), encoder.stride
    if xp is None or pixels.ndim != 4 or pixels.shape[1] != 3 or any(s % stride for s in pixels.shape[2:]):
        shape = getattr(pixels, "shape", type(pixels).__name__)
        raise InputError(f"pixels must be (n, 3, H, W) with sides that are multiples of {stride}, got {shape}")
    return xp


class TextEncoder(_OnnxEncoder):
    """Strings to unit rows.

    Parameters
    ----------
    path : str or Path
        A bundle's text encoder.
    tokenizer : Tokenizer
        The bundle's tokenizer.
    dim, providers, num_threads
        As for :class:`ImageEncoder`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        tokenizer: Tokenizer,
        dim: int,
        providers: Sequence[Provider] | None = None,
        num_threads: int | None = None,
    ) -> None:
        super().__init__(path, dim, providers, num_threads, input_rank=2)
        self.tokenizer = tokenizer
        self.batch_tokens = TEXT_BATCH_TOKENS

    def encode(self, texts: Sequence[str], progress: Progress | None = None, batch_tokens: int | None = None) -> Any:
        """Encode texts, the short ones together, so that little is spent on padding.

        Parameters
        ----------
        texts : sequence of str
            At least one.
        progress : callable, optional
            Called as ``progress(done, total)`` after every batch, counting distinct texts.
        batch_tokens : int, optional
            Most tokens of one run, by default ``self.batch_tokens``; a single text may exceed it.

        Returns
        -------
        (n, dim) float32, C-contiguous
            Unit rows in the order of ``texts``.

        Raises
        ------
        InputError
            As :meth:`fastconcept.encoders.tokenizer.Tokenizer.tokenize`.
        """
        tokens = [tuple(row) for row in self.tokenizer.tokenize(texts)]
        rows = list(dict.fromkeys(tokens))  # equal texts are encoded once, so that they tie to the last bit
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]))
        lengths = [len(rows[index]) for index in order]
        embeddings, limit = self._empty(len(rows)), self.batch_tokens if batch_tokens is None else batch_tokens
        stop = 0
        while stop < len(order):
            start, stop = stop, self._batch_end(lengths, stop, limit)
            chosen = order[start:stop]
            batch = self._empty(len(chosen))
            self._run(self.tokenizer.pad([rows[index] for index in chosen]), batch)
            embeddings[chosen] = batch
            if progress is not None:
                progress(stop, len(order))
        if len(rows) == len(tokens):
            return embeddings
        place = {row: index for index, row in enumerate(rows)}
        return embeddings[[place[row] for row in tokens]]

    def _empty(self, count: int) -> Any:
        """Room for rows."""
        return np.empty((count, self.dim), np.float32)

    def _batch_end(self, lengths: list[int], start: int, batch_tokens: int) -> int:
        """First text after ``start`` that no longer fits; lengths only grow."""
        for stop in range(start + 1, len(lengths)):
            length = lengths[stop] if self.tokenizer.dynamic else self.tokenizer.context_length
            if (stop + 1 - start) * length > batch_tokens:
                return stop
        return len(lengths)
