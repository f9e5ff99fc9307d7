"""The words a decomposition may use, with their centred embeddings, as files hold them and as kernels take them."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..concepts.embeddings import Float32, check_names, unit_rows
from ..concepts.nearby import unknown_name
from ..concepts.storage import Tensors, decode_lines, encode_lines, read_tensors, write_tensors
from ..doors import door
from ..errors import BundleError, InputError
from ..kernels.contract import Kernels, PreparedDictionary
from ..kernels.csr import Lists
from ..kernels.foreign import as_numpy
from ..kernels.forks import renew_after_fork


class Dictionary:
    r"""Words with the rows C that SpLiCE decomposes over.

    .. math:: C_j = \frac{t_j - \bar t}{\lVert t_j - \bar t \rVert}, \qquad \bar t = \frac 1 N \sum_j t_j,

    where :math:`t_j` is the unit embedding of word j and the mean is over the chosen vocabulary. Threads may share a
    dictionary.

    Parameters
    ----------
    words : sequence of str
        N distinct words.
    embeddings : (N, d) floating
        The centred rows C, scaled to length one here.
    mean : (d,) floating
        The mean text embedding that was subtracted.

    Raises
    ------
    InputError
        If the counts differ, a word is empty or occurs twice, or a row is zero or not finite.

    Source: Bhalla et al., *Interpreting CLIP with Sparse Linear Concept Embeddings*, arXiv 2402.10376, section 4.

    Examples
    --------
    >>> dictionary = Dictionary.from_embeddings(["cat", "dog"], np.eye(2))
    >>> dictionary.embeddings.round(3), dictionary.mean
    (array([[ 0.707, -0.707],
            [-0.707,  0.707]], dtype=float32), array([0.5, 0.5], dtype=float32))
    """

    @door
    def __init__(self, words: Sequence[str], embeddings: ArrayLike, mean: ArrayLike) -> None:
        rows = as_numpy("embeddings", embeddings)
        self._words = tuple(words)
        check_names(self._words, len(rows) if rows.ndim else 0, "words")
        self._embeddings = unit_rows(rows, self._words.__getitem__)
        self._mean = np.array(as_numpy("mean", mean), dtype=np.float32)
        if self._mean.shape != (self.dimension,) or not np.all(np.isfinite(self._mean)):
            raise InputError(f"the mean must be {self.dimension} finite numbers, not {self._mean.shape}")
        self._mean.flags.writeable = False
        self._prepared: dict[tuple[str, str], PreparedDictionary] = {}
        self.renew()

    def renew(self) -> None:
        """A lock of this process; for a forked child, too."""
        self._lock = threading.Lock()
        renew_after_fork(self)

    def __getstate__(self) -> tuple[tuple[str, ...], Float32, Float32]:
        return self._words, self._embeddings, self._mean

    def __setstate__(self, state: tuple[tuple[str, ...], Float32, Float32]) -> None:
        self._words, self._embeddings, self._mean = state
        for array in (self._embeddings, self._mean):
            array.flags.writeable = False
        self._prepared = {}
        self.renew()

    @classmethod
    @door
    def from_embeddings(cls, words: Sequence[str], embeddings: ArrayLike) -> Dictionary:
        """Centre the text embeddings (N, d) of words on their own mean; rows are scaled to length one before and after.

        Raises
        ------
        InputError
            As for the class; also if all words have the same embedding, so that centring leaves none a direction.
        """
        words = tuple(words)
        rows = as_numpy("embeddings", embeddings)
        check_names(words, len(rows) if rows.ndim else 0, "words")
        unit = unit_rows(rows, words.__getitem__).astype(np.float64)
        mean = unit.mean(axis=0)
        centred = unit - mean
        lost = np.flatnonzero(np.linalg.norm(centred, axis=1) < 1e-6)
        if lost.size:
            raise InputError(f"the words are all alike: {words[lost[0]]!r} is their mean; add different words")
        return cls(words, centred, mean)

    @property
    def words(self) -> tuple[str, ...]:
        """The words, row by row."""
        return self._words

    @property
    def embeddings(self) -> Float32:
        """(N, d) float32, C-contiguous, unit rows, read-only: the matrix C."""
        return self._embeddings

    @property
    def mean(self) -> Float32:
        """(d,) float32, read-only: mean of the unit text embeddings before centring."""
        return self._mean

    @property
    def dimension(self) -> int:
        """Length d of an embedding."""
        return int(self._embeddings.shape[1])

    def __len__(self) -> int:
        return len(self._words)

    def __repr__(self) -> str:
        return f"Dictionary({len(self)} words, {self.dimension} dimensions)"

    @cached_property
    def _by_word(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self._words)}

    @door
    def index(self, word: str) -> int:
        """The row of a word, exactly as it is written in the dictionary.

        Raises
        ------
        ConceptError
            If the word is not in the dictionary; ``suggestions`` holds similar words.
        """
        if word not in self._by_word:
            raise unknown_name(word, self._words, "words of this dictionary")
        return self._by_word[word]

    def equals_of(self, rows: NDArray[np.int32]) -> NDArray[np.int64]:
        """These rows and all that are equal to one of them: words that the model cannot tell apart (Dog, dog)."""
        return np.flatnonzero(np.isin(self._groups, self._groups[rows]))

    @cached_property
    def _groups(self) -> NDArray[np.int64]:
        """(N,) which words have equal rows: the number of the first of them."""
        first: dict[bytes, int] = {}
        return np.array([first.setdefault(row.tobytes(), i) for i, row in enumerate(self._embeddings)], np.int64)

    def rows_of(self, words: Iterable[str]) -> NDArray[np.int32]:
        """The rows of some words, (k,) int32, in the order of the words; errors are those of :meth:`index`.

        Examples
        --------
        >>> Dictionary.from_embeddings(["cat", "dog"], np.eye(2)).rows_of(["dog", "cat"])
        array([1, 0], dtype=int32)
        """
        return np.array([self.index(word) for word in words], np.int32)

    def prepared(self, kernels: Kernels) -> PreparedDictionary:
        """The embeddings in the form that a kernel backend computes from.

        They are prepared at the first call for each backend and device, and kept for as long as the dictionary lives.

        Parameters
        ----------
        kernels : Kernels
            The backend. One that works on devices prepares for the device that is current at the call.
        """
        key = (kernels.__name__, kernels.place())
        with self._lock:
            if key not in self._prepared:
                self._prepared[key] = kernels.prepare_dictionary(self._embeddings)
            return self._prepared[key]

    def combine(self, words: Lists, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Weighted sums ``C^T w`` of n codes, (n, d) float64.

        Parameters
        ----------
        words : Lists
            Rows of the dictionary, for each of n codes.
        weights : (m,) float64
            The weight of each member of ``words.indices``.
        """
        sums = np.zeros((len(words.indptr) - 1, self.dimension))
        for row, start, stop in zip(sums, words.indptr[:-1], words.indptr[1:], strict=True):
            np.matmul(weights[start:stop], self._embeddings[words.indices[start:stop]].astype(np.float64), out=row)
        return sums

    def save(self, path: str | os.PathLike[str], half: bool = False) -> None:
        """Write one safetensors file: ``embeddings`` in float32 or, with ``half``, float16; ``mean``; ``words``."""
        embeddings = self._embeddings.astype(np.float16 if half else np.float32)
        tensors: Tensors = {"embeddings": embeddings, "mean": self._mean, "words": encode_lines(self._words, "words")}
        write_tensors(path, tensors, {"kind": "dictionary"})

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Dictionary:
        """Read a file written by :meth:`save`.

        Raises
        ------
        BundleError
            If the file is missing or damaged, or its parts disagree.
        """
        tensors, metadata = read_tensors(path, ["embeddings", "mean", "words"])
        embeddings, mean = tensors["embeddings"], tensors["mean"]
        if metadata.get("kind") != "dictionary" or embeddings.ndim != 2 or mean.dtype != np.float32:
            raise BundleError(f"{path}: kind {metadata.get('kind')!r}, embeddings {embeddings.shape}; not a dictionary")
        try:
            return cls(decode_lines(tensors["words"], len(embeddings), f"{path}: words"), embeddings, mean)
        except InputError as error:
            raise BundleError(f"{path}: {error}") from error
