"""Null controls: the same engine with one thing taken away that an explanation must depend on.

A number means something only where it is above that of its null controls: colours, layout and the mere number of words
can score too. There are three; :func:`apply_control` says what each takes away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from ..concepts.bank import ConceptBank
from ..datasets.dataset import Dataset
from ..datasets.embed import embed_all
from ..encoders.split import SplitEncoder
from ..engine import Engine
from ..errors import InputError
from ..kernels.host import to_host
from ..parts import Later, Parts
from ..sparse.dictionary import Dictionary

FloatArray = npt.NDArray[np.float32]
CONTROLS = ("random-vocabulary", "shuffled-definitions", "random-encoder")
_POOLED = 8


class RandomEncoder:
    """An image encoder without meaning: pixels averaged on an 8 x 8 grid, times a random matrix.

    It sees colour and layout, so that pictures that look alike stay alike, but knows nothing of words.

    Parameters
    ----------
    dim : int
        Width of its rows.
    seed : int

    Examples
    --------
    >>> RandomEncoder(4, seed=0).encode(np.ones((2, 3, 16, 16), np.float32)).shape
    (2, 4)
    """

    batch_size = 64

    def __init__(self, dim: int, seed: int) -> None:
        self.dim = dim
        self._matrix = np.random.default_rng(seed).standard_normal((3 * _POOLED**2 + 1, dim))

    def encode(self, pixels: FloatArray, batch_size: int | None = None) -> FloatArray:
        """Pixels (n, 3, h, w) float32 to unit rows (n, dim) float32; h and w are at least 8."""
        return _unit(_pooled(to_host(pixels)) @ self._matrix)


class RandomTokens:
    """A dense tower without meaning: every token, and the picture, by :class:`RandomEncoder`.

    Parameters
    ----------
    dim, seed : int
    stride : int
        Pixels per token, at least 8.
    """

    batch_size = 64

    def __init__(self, dim: int, seed: int, stride: int) -> None:
        self._encoder, self.stride = RandomEncoder(dim, seed), stride

    def encode(self, pixels: Any) -> FloatArray:
        """Pixels (n, 3, H, W) float32 to unit rows (n, 1 + h w, dim)."""
        pixels, count = to_host(pixels), len(pixels)
        tokens = self._encoder.encode(_cells(pixels, self.stride)).reshape(count, -1, self._encoder.dim)
        rows: FloatArray = np.concatenate([self._encoder.encode(pixels)[:, None], tokens], axis=1)
        return rows


class RandomMaps:
    """A trunk without meaning: the channels of a cell are its pixels, pooled as :class:`RandomEncoder` does."""

    def __init__(self, stride: int) -> None:
        self.stride = stride

    def encode(self, pixels: Any) -> FloatArray:
        """Pixels (n, 3, H, W) float32 to maps (n, 193, h, w)."""
        pixels = to_host(pixels)
        count, height, width = len(pixels), pixels.shape[2] // self.stride, pixels.shape[3] // self.stride
        features = _pooled(_cells(pixels, self.stride)).reshape(count, height, width, -1)
        return np.ascontiguousarray(features.transpose(0, 3, 1, 2), np.float32)


class RandomHead:
    """A head without meaning: means of :class:`RandomMaps` times a random matrix."""

    def __init__(self, dim: int, seed: int) -> None:
        self._matrix = np.random.default_rng(seed).standard_normal((3 * _POOLED**2 + 1, dim))

    def encode(self, means: Any) -> FloatArray:
        """Means (n, 193) to unit rows (n, dim)."""
        return _unit(to_host(means) @ self._matrix)


def _cells(pixels: FloatArray, side: int) -> FloatArray:
    """Pictures (n, 3, H, W) cut into squares, (n h w, 3, side, side)."""
    count, _, height, width = pixels.shape
    cut = pixels.reshape(count, 3, height // side, side, width // side, side).transpose(0, 2, 4, 1, 3, 5)
    cells: FloatArray = cut.reshape(-1, 3, side, side)
    return cells


def _pooled(pixels: FloatArray) -> npt.NDArray[np.float64]:
    """Pictures averaged on an 8 x 8 grid, and a constant: (n, 193)."""
    count, _, height, width = pixels.shape
    down, across = height // _POOLED, width // _POOLED
    if not down or not across:
        raise InputError(f"images of {height} x {width} pixels are smaller than 8 x 8")
    cut = pixels[:, :, : down * _POOLED, : across * _POOLED]
    means = cut.reshape(count, 3, _POOLED, down, _POOLED, across).mean(axis=(3, 5)).reshape(count, -1)
    return np.concatenate([means, np.ones((count, 1))], axis=1)


def _unit(rows: npt.NDArray[np.float64]) -> FloatArray:
    unit: FloatArray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


class ShuffledTexts:
    """A text encoder that gives every text of a call the embedding of another one of the same call."""

    def __init__(self, encoder: Any, seed: int) -> None:
        self._encoder, self._seed = encoder, seed

    def encode(self, texts: Sequence[str]) -> FloatArray:
        """Texts to unit rows (n, d), of which row i belongs to some text j."""
        rows: FloatArray = self._encoder.encode(list(texts))
        return rows[shuffle(len(rows), self._seed)]


def shuffle(count: int, seed: int) -> npt.NDArray[np.int64]:
    """A seeded permutation in which nothing stays where it was (one big cycle), for two things or more.

    Examples
    --------
    >>> bool((shuffle(100, 3) == np.arange(100)).any()), sorted(shuffle(5, 0).tolist())
    (False, [0, 1, 2, 3, 4])
    """
    cycle = np.random.default_rng(seed).permutation(count)
    moved = np.empty(count, np.int64)
    moved[cycle] = np.roll(cycle, 1)
    return moved


def apply_control(engine: Engine, control: str, seed: int = 0) -> Engine:
    """The same engine with one thing taken away; the engine itself stays as it is.

    Parameters
    ----------
    engine : Engine
    control : {"random-vocabulary", "shuffled-definitions", "random-encoder"}
        *random-vocabulary*: the rows of the bank and of the dictionary become Gaussian directions with the same
        second moments: as many, in the same subspace, but naming nothing. *shuffled-definitions*: every concept, word
        and text gets the embedding of another. *random-encoder*: images go through :class:`RandomEncoder`.
    seed : int

    Returns
    -------
    Engine

    Raises
    ------
    InputError
        If there is no such control.
    """
    if control not in CONTROLS:
        raise InputError(f"control must be one of {', '.join(CONTROLS)}; got {control!r}")
    return Engine(_null_parts(engine.parts, control, seed))


def under_control(
    engine: Engine, dataset: Dataset, embeddings: FloatArray, control: str, seed: int
) -> tuple[Engine, FloatArray]:
    """An engine under a null control, and the embeddings of a dataset by it.

    Parameters
    ----------
    engine, control, seed
        As for :func:`apply_control`.
    dataset : Dataset
    embeddings : (n, d) float32
        Those of its items by the engine; only ``random-encoder`` embeds images anew.

    Returns
    -------
    Engine, (n, d) float32
    """
    null = apply_control(engine, control, seed)
    return null, embed_all(null, dataset).rows if control == "random-encoder" else embeddings


def control_name(control: str) -> str:
    """The name of a control in tables: ``random-encoder`` is written "random encoder"."""
    return control.replace("-", " ")


def null_columns(measure: str, controls: Iterable[str]) -> list[str]:
    """Names of the columns that hold a measure of each control, then the differences to it.

    Examples
    --------
    >>> null_columns("AUROC", ["random-encoder"])
    ['AUROC, random encoder', 'over random encoder']
    """
    names = list(map(control_name, controls))
    return [f"{measure}, {name}" for name in names] + [f"over {name}" for name in names]


def _null_parts(parts: Parts, control: str, seed: int) -> Parts:
    """Parts with one thing taken away; what is replaced is made when it is first needed."""
    if control == "random-encoder":  # whose rows the real mean has nothing to do with
        dim = parts.embedding_dim
        towers = {name: Later(partial(_random_tokens, parts, name, seed)) for name in parts.dense}
        if parts.has("split_encoder"):
            towers["split_encoder"] = Later(partial(_random_split, parts, seed))
        mean = np.zeros(dim, np.float32)
        return parts.replace(image_encoder=RandomEncoder(dim, seed), image_mean=mean, **towers)
    replaced: dict[str, Callable[[], Any]] = {
        "bank": lambda: _null_bank(parts.bank, control, seed),
        "dictionary": lambda: _null_dictionary(parts.dictionary, control, seed),
    }
    if control == "shuffled-definitions":
        replaced["text_encoder"] = lambda: ShuffledTexts(parts.text_encoder, seed)
    return parts.replace(**{name: Later(make) for name, make in replaced.items() if parts.has(name)})


def _random_tokens(parts: Parts, name: str, seed: int) -> RandomTokens:
    dense = parts.image_tower(name).dense
    assert dense is not None
    return RandomTokens(parts.embedding_dim, seed, dense.stride)


def _random_split(parts: Parts, seed: int) -> SplitEncoder:
    split = parts.image_tower("windows").split
    assert split is not None
    return SplitEncoder(RandomMaps(split.maps.stride), RandomHead(parts.embedding_dim, seed))


def _null_bank(bank: ConceptBank, control: str, seed: int) -> ConceptBank:
    rows = _replaced(bank.embeddings, control, seed)
    if bank.taxonomy is None:
        return ConceptBank(rows, phrases=bank.names)
    return ConceptBank(rows, taxonomy=bank.taxonomy)


def _null_dictionary(dictionary: Dictionary, control: str, seed: int) -> Dictionary:
    rows = _replaced(dictionary.embeddings, control, seed)
    return Dictionary(dictionary.words, rows, dictionary.mean, dictionary.spellings)


def _replaced(rows: FloatArray, control: str, seed: int) -> FloatArray:
    return rows[shuffle(len(rows), seed)] if control == "shuffled-definitions" else random_rows(rows, seed)


def random_rows(rows: FloatArray, seed: int) -> FloatArray:
    """Gaussian rows with the second moments of others, made unit length: as many of them, in the same subspace.

    Parameters
    ----------
    rows : (N, d) float32
    seed : int

    Returns
    -------
    (N, d) float32, unit rows

    Examples
    --------
    >>> random_rows(np.eye(3, dtype=np.float32)[[0, 0, 1]], seed=0)[:, 2].tolist()
    [0.0, 0.0, 0.0]
    """
    values, vectors = np.linalg.eigh(rows.astype(np.float64).T @ rows.astype(np.float64) / len(rows))
    values = np.where(values > 1e-9 * values.max(), values, 0.0)
    drawn = np.random.default_rng(seed).standard_normal(rows.shape) * np.sqrt(values) @ vectors.T
    unit: FloatArray = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return unit
