"""The words a decomposition may use, with their centred embeddings, as files hold them and as kernels take them."""

from __future__ import annotations

import itertools
import logging
import os
import threading
from collections.abc import Iterable, Mapping, Sequence

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
from ..kernels.forks import cached_property, renew_after_fork

_log = logging.getLogger(__name__)
_NAMED = 10  # of the words that are left out


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
    spellings : mapping of str to str, optional
        Other words that the model cannot tell from one of these ("Dog" from "dog"), each with the word that stands
        for it.

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
    def __init__(
        self,
        words: Sequence[str],
        embeddings: ArrayLike,
        mean: ArrayLike,
        spellings: Mapping[str, str] | None = None,
    ) -> None:
        rows = as_numpy("embeddings", embeddings)
        if spellings is not None and not isinstance(spellings, Mapping):
            raise InputError(f"spellings must be a dict, got {type(spellings).__name__}")
        self._words, self._spellings = tuple(words), dict(spellings or {})
        check_names(self._words, len(rows) if rows.ndim else 0, "words")
        self._embeddings = unit_rows(rows, self._words.__getitem__)
        self._mean = np.array(as_numpy("mean", mean), dtype=np.float32)
        if self._mean.shape != (self.dimension,) or not np.all(np.isfinite(self._mean)):
            raise InputError(f"the mean must be {self.dimension} finite numbers, not {self._mean.shape}")
        self._mean.flags.writeable = False
        check_names((*self._words, *self._spellings), len(rows) + len(self._spellings), "words and spellings")
        known = set(self._words)
        for spelling, word in self._spellings.items():
            if word not in known:
                raise InputError(f"the spelling {spelling!r} stands for {word!r}, which is none of the words")
        self._prepared: dict[tuple[str, str], PreparedDictionary] = {}
        self.renew()

    def renew(self) -> None:
        """A lock of this process; for a forked child, too."""
        self._lock = threading.Lock()
        renew_after_fork(self)

    def __getstate__(self) -> tuple[tuple[str, ...], Float32, Float32, dict[str, str]]:
        return self._words, self._embeddings, self._mean, self._spellings

    def __setstate__(self, state: tuple[tuple[str, ...], Float32, Float32, dict[str, str]]) -> None:
        self._words, self._embeddings, self._mean, self._spellings = state
        for array in (self._embeddings, self._mean):
            array.flags.writeable = False
        self._prepared = {}
        self.renew()

    @classmethod
    @door
    def from_embeddings(cls, words: Sequence[str], embeddings: ArrayLike, keep: str = "first") -> Dictionary:
        """Centre the text embeddings (N, d) of words on their own mean; rows are scaled to length one before and after.

        Of words with equal embeddings one stays; the others become its :attr:`spellings`, and a line of the log says
        which.

        Parameters
        ----------
        words : sequence of str
            N distinct words.
        embeddings : (N, d) floating
            Their embeddings.
        keep : {"first", "last"}
            Which of words with equal embeddings stays: "last" for a list that is sorted by rising frequency.

        Raises
        ------
        InputError
            As for the class; also if all words have the same embedding, so that centring leaves none a direction.

        Examples
        --------
        >>> dictionary = Dictionary.from_embeddings(["Cat", "dog", "cat"], [[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        >>> dictionary.words, dictionary.spellings, dictionary.index("cat")
        (('Cat', 'dog'), {'cat': 'Cat'}, 0)
        """
        words = tuple(words)
        rows = as_numpy("embeddings", embeddings)
        check_names(words, len(rows) if rows.ndim else 0, "words")
        unit = unit_rows(rows, words.__getitem__).astype(np.float64)
        if keep not in ("first", "last"):
            raise InputError(f"keep must be first or last, got {keep!r}")
        rising = range(len(unit))
        stays = {unit[i].tobytes(): i for i in (rising if keep == "last" else reversed(rising))}
        stands = [stays[row.tobytes()] for row in unit]
        spellings = {words[i]: words[j] for i, j in enumerate(stands) if i != j}
        mean = unit.mean(axis=0)  # of the list as it is: the paper's code counts equal rows as often as they are there
        if spellings:
            kept = sorted(stays.values())
            words, unit = tuple(words[i] for i in kept), unit[kept]
            _log.warning("%s", _left_out(spellings))
        centred = unit - mean
        lost = np.flatnonzero(np.linalg.norm(centred, axis=1) < 1e-6)
        if lost.size:
            raise InputError(f"the words are all alike: {words[lost[0]]!r} is their mean; add different words")
        return cls(words, centred, mean, spellings)

    @property
    def words(self) -> tuple[str, ...]:
        """The words, row by row."""
        return self._words

    @property
    def spellings(self) -> dict[str, str]:
        """Words without a row of their own, because the model cannot tell them from another, with that word."""
        return dict(self._spellings)

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
        rows = {word: i for i, word in enumerate(self._words)}
        return rows | {spelling: rows[word] for spelling, word in self._spellings.items()}

    @door
    def index(self, word: str) -> int:
        """The row of a word, exactly as it is written in the dictionary, or of one of its :attr:`spellings`.

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

    @door
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
        """Write one safetensors file: ``embeddings`` in float32 or, with ``half``, float16; ``mean``; ``words``.

        Where there are other spellings, ``spellings`` holds them, and ``spelling_rows`` the row of each, int32.
        """
        embeddings = self._embeddings.astype(np.float16 if half else np.float32)
        tensors: Tensors = {"embeddings": embeddings, "mean": self._mean, "words": encode_lines(self._words, "words")}
        if self._spellings:
            tensors["spellings"] = encode_lines(tuple(self._spellings), "spellings")
            tensors["spelling_rows"] = self.rows_of(tuple(self._spellings))
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
        words = decode_lines(tensors["words"], len(embeddings), f"{path}: words")
        try:
            return cls(words, embeddings, mean, _read_spellings(tensors, words, path))
        except InputError as error:
            raise BundleError(f"{path}: {error}") from error


def _left_out(spellings: Mapping[str, str]) -> str:
    """Which words have no row of their own, for the log."""
    pairs = [f"{spelling!r} ({word!r})" for spelling, word in itertools.islice(spellings.items(), _NAMED)]
    more = ", ..." if len(spellings) > _NAMED else ""
    one = len(spellings) == 1
    return (
        f"{len(spellings)} {'word has' if one else 'words have'} the embedding of another and "
        f"{'is' if one else 'are'} left out: {', '.join(pairs)}{more}"
    )


def _read_spellings(tensors: Tensors, words: Sequence[str], path: str | os.PathLike[str]) -> dict[str, str]:
    """Other spellings from a file; an old one has none."""
    if "spellings" not in tensors:
        return {}
    rows = tensors.get("spelling_rows", np.zeros(0))
    if rows.dtype != np.int32 or rows.ndim != 1 or not all(0 <= row < len(words) for row in rows.tolist()):
        raise BundleError(f"{path}: spelling_rows must be one int32 row of the dictionary for each spelling")
    spellings = decode_lines(tensors["spellings"], len(rows), f"{path}: spellings")
    check_names(tuple(spellings), len(rows), "spellings")
    return {spelling: words[row] for spelling, row in zip(spellings, rows.tolist(), strict=True)}
