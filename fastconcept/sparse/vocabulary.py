"""The words a decomposition may use, and their centred unit embeddings as the kernels want them."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from ..concepts.nearby import NearNames
from ..errors import ConceptError, InputError
from ..kernels.contract import Kernels, PreparedDictionary
from ..kernels.sparse_codes import check_rows


class Dictionary(Protocol):
    """What the functions of this room accept as a dictionary: anything with N words and their embeddings."""

    @property
    def words(self) -> Sequence[str]:
        """N words."""

    @property
    def embeddings(self) -> npt.NDArray[np.float32]:
        """(N, d) centred unit rows."""


class Vocabulary:
    """Words and their embeddings, checked, indexed, and prepared once for each kernel backend.

    Parameters
    ----------
    words : sequence of str
        N words. A word may occur twice; both rows then carry its name.
    embeddings : (N, d) float32
        C-contiguous unit rows ``norm(norm(E_T(word)) - mean over the words)``. Kept, not copied: leave it unchanged.

    Raises
    ------
    InputError
        If the shapes disagree or an embedding is not finite or not of unit length.

    Examples
    --------
    >>> vocabulary = Vocabulary(["cat", "dog"], np.eye(2, dtype=np.float32))
    >>> len(vocabulary), vocabulary.rows_of("dog").tolist()
    (2, [1])
    """

    def __init__(self, words: Sequence[str], embeddings: npt.NDArray[np.float32]) -> None:
        self.words = tuple(words)
        self.embeddings = check_rows(embeddings, "dictionary embeddings")
        if len(self.words) != len(embeddings):
            raise InputError(f"{len(self.words)} words but {len(embeddings)} embeddings")
        lengths = np.sqrt(np.einsum("ij,ij->i", embeddings, embeddings, dtype=np.float64))
        if len(lengths) and np.abs(lengths - 1).max() > 1e-3:
            row = int(np.abs(lengths - 1).argmax())
            raise InputError(f"dictionary embeddings must be unit rows, but row {row} has length {lengths[row]:.4g}")
        self._prepared: dict[str, PreparedDictionary] = {}

    @classmethod
    def of(cls, dictionary: Dictionary) -> Vocabulary:
        """The vocabulary of a dictionary, made at the first call and kept for as long as the dictionary lives."""
        if isinstance(dictionary, cls):
            return dictionary
        key = id(dictionary)
        if key not in _VOCABULARIES:
            _VOCABULARIES[key] = cls(dictionary.words, dictionary.embeddings)
            weakref.finalize(dictionary, _VOCABULARIES.pop, key, None)
        return _VOCABULARIES[key]

    def __len__(self) -> int:
        return len(self.words)

    @property
    def dimension(self) -> int:
        """Length d of an embedding."""
        return int(self.embeddings.shape[1])

    def prepared(self, kernels: Kernels) -> PreparedDictionary:
        """The embeddings as a kernel backend wants them, converted at the first call for each backend and device."""
        key = f"{kernels.__name__} {kernels.place()}"
        if key not in self._prepared:
            self._prepared[key] = kernels.prepare_dictionary(self.embeddings)
        return self._prepared[key]

    @cached_property
    def _rows(self) -> dict[str, list[int]]:
        rows: dict[str, list[int]] = {}
        for row, word in enumerate(self.words):
            rows.setdefault(word, []).append(row)
        return rows

    def rows_of(self, word: str) -> npt.NDArray[np.int32]:
        """Rows that carry a word, ascending.

        Raises
        ------
        ConceptError
            If there is none; its ``suggestions`` are near names.
        """
        if word not in self._rows:
            near = NearNames(self.words).find(word) if isinstance(word, str) else []
            hint = f"; did you mean {', '.join(near)}?" if near else "; see .words for the vocabulary"
            raise ConceptError(f"{word!r} is not one of the {len(self)} words of the dictionary{hint}", near)
        return np.array(self._rows[word], np.int32)

    def combine(
        self, indptr: npt.NDArray[np.int64], indices: npt.NDArray[np.int32], values: npt.NDArray[np.float64]
    ) -> npt.NDArray[np.float64]:
        """Weighted sums ``C^T w`` of n codes in CSR layout, (n, d) float64."""
        sums = np.zeros((len(indptr) - 1, self.dimension))
        for row, start, stop in zip(sums, indptr[:-1], indptr[1:], strict=True):
            np.matmul(values[start:stop], self.embeddings[indices[start:stop]].astype(np.float64), out=row)
        return sums


_VOCABULARIES: dict[int, Vocabulary] = {}  # by id() of a living dictionary
