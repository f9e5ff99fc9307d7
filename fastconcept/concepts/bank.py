"""Concept banks: embeddings with names and, if they are synsets, with a taxonomy."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..doors import door, is_visible
from ..errors import BundleError, ConceptError, InputError
from ..kernels.foreign import as_numpy
from ..kernels.forks import cached_property
from .embeddings import Float32, check_names, unit_rows
from .graph import Int32, as_nodes
from .nearby import unknown_name
from .search import Resolution
from .storage import Tensors, decode_lines, encode_lines, read_tensors, write_tensors
from .taxonomy import Taxonomy


class ConceptBank:
    """Unit vectors with names: the set S that ConVis ranks against. They are synsets of a taxonomy, or phrases.

    Give either ``taxonomy``, whose nodes are the rows, or ``phrases``.

    Parameters
    ----------
    embeddings : (N, d) floating
        One row per concept, scaled to length one here.
    taxonomy : Taxonomy, optional
        N synsets in the order of the rows, which are embeddings of their definitions.
    phrases : sequence of str, optional
        N distinct phrases in the order of the rows, which are embeddings of the phrases.

    Raises
    ------
    InputError
        If the counts differ, a phrase is empty or occurs twice, or a row is zero or not finite.

    Examples
    --------
    >>> bank = ConceptBank(np.eye(2), phrases=["a red ball", "a blue ball"])
    >>> bank.index("a blue ball"), bank.subtree("a blue ball")
    (1, array([1], dtype=int32))
    """

    @door
    def __init__(
        self, embeddings: ArrayLike, *, taxonomy: Taxonomy | None = None, phrases: Sequence[str] | None = None
    ) -> None:
        if (taxonomy is None) == (phrases is None):
            raise InputError("a bank holds either the synsets of a taxonomy or phrases; give exactly one of them")
        self._taxonomy = taxonomy
        self._phrases = tuple(phrases or ())
        rows = as_numpy("embeddings", embeddings)
        count = len(rows) if rows.ndim else 0
        if taxonomy is None:
            check_names(self._phrases, count, "phrases")
        elif len(taxonomy) != count:
            raise InputError(f"{len(taxonomy)} synsets but {count} embeddings; each synset needs its own row")
        self._embeddings = unit_rows(rows, lambda i: self.names[i])

    @property
    def embeddings(self) -> Float32:
        """(N, d) float32, C-contiguous, unit rows, read-only."""
        return self._embeddings

    @property
    def taxonomy(self) -> Taxonomy | None:
        """The synsets of the rows (node i is row i); None in a bank of phrases."""
        return self._taxonomy

    @property
    def names(self) -> tuple[str, ...]:
        """Synset names, or the phrases."""
        return self._phrases if self._taxonomy is None else self._taxonomy.names

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts of the embeddings: the definitions of the synsets, or the phrases."""
        return self._phrases if self._taxonomy is None else self._taxonomy.definitions

    def __len__(self) -> int:
        return len(self._embeddings)

    def __repr__(self) -> str:
        kind = "phrases" if self._taxonomy is None else "synsets"
        return f"ConceptBank({len(self)} {kind}, {self._embeddings.shape[1]} dimensions)"

    @cached_property
    def _by_phrase(self) -> dict[str, int]:
        return {phrase.casefold(): i for i, phrase in reversed(tuple(enumerate(self._phrases)))} | {
            phrase: i for i, phrase in enumerate(self._phrases)
        }

    def _row_of_phrase(self, text: str) -> int | None:
        return self._by_phrase.get(text, self._by_phrase.get(text.strip().casefold()))

    @door
    def index(self, name: str) -> int:
        """The row of a concept: of a synset name or wnid, or, in a bank of phrases, of a phrase. Case is ignored.

        Raises
        ------
        ConceptError
            If the concept is not in the bank; ``suggestions`` holds similar names.
        """
        if self._taxonomy is not None:
            return self._taxonomy.index(name)
        row = self._row_of_phrase(name)
        if row is None:
            raise unknown_name(name, self._phrases, "phrases of this bank")
        return row

    @door
    def resolve(self, text: str) -> Resolution:
        """What a text means to this bank; the index is None for a phrase or a synset that is not in it.

        Raises
        ------
        ConceptError
            If the text is empty or, in a bank of synsets, looks like a synset name or wnid that WordNet lacks.
        """
        if self._taxonomy is not None:
            return self._taxonomy.resolve(text)
        if not is_visible(text):
            raise ConceptError("an empty text names no concept; give a phrase")
        return Resolution("phrase", self._row_of_phrase(text))

    def subtree(self, name: str) -> Int32:
        """Rows of a concept and of all its descendants in the bank, ascending; of a phrase, its own row."""
        i = self.index(name)
        return np.array([i], np.int32) if self._taxonomy is None else self._taxonomy.subtree(i)

    def leaves(self, name: str) -> Int32:
        """Rows of the descendants that have none themselves, ascending; of a leaf or a phrase, its own row."""
        i = self.index(name)
        return np.array([i], np.int32) if self._taxonomy is None else self._taxonomy.leaves(i)

    def subset(self, indices: ArrayLike) -> ConceptBank:
        """A bank of some of the rows.

        Raises
        ------
        InputError
            If the indices are not strictly ascending, or out of range.
        """
        rows = as_nodes(indices, len(self))
        if np.any(np.diff(rows) <= 0):
            raise InputError("indices must rise strictly, so that a bank keeps the order of its concepts")
        if self._taxonomy is not None:
            return ConceptBank(self._embeddings[rows], taxonomy=self._taxonomy.induced(rows))
        return ConceptBank(self._embeddings[rows], phrases=[self._phrases[i] for i in rows.tolist()])

    def save(self, path: str | os.PathLike[str], half: bool = False) -> None:
        """Write one safetensors file, in float32 or, with ``half``, in float16 (half the size, error below 0.0005).

        Its tensors are ``embeddings`` (N, d) and, for synsets, ``offsets`` (N,) int64, or, for phrases, ``names``,
        uint8, joined by line breaks. Its metadata have the ``kind``, ``synsets`` or ``phrases``, and for synsets the
        version of ``wordnet``.
        """
        tensors: Tensors = {"embeddings": self._embeddings.astype(np.float16 if half else np.float32)}
        if self._taxonomy is None:
            tensors["names"] = encode_lines(self._phrases, "phrases")
            metadata = {"kind": "phrases"}
        else:
            tensors["offsets"] = self._taxonomy.offsets
            metadata = {"kind": "synsets", "wordnet": self._taxonomy.version, "text": "definition"}
        write_tensors(path, tensors, metadata)

    @classmethod
    def load(cls, path: str | os.PathLike[str], taxonomy: Taxonomy | None = None) -> ConceptBank:
        """Read a file written by :meth:`save`; synsets take their words and edges from ``taxonomy``.

        Parameters
        ----------
        path : str or path
            The safetensors file.
        taxonomy : Taxonomy, optional
            The taxonomy that has the synsets; by default the one that ships with the package.

        Raises
        ------
        BundleError
            If the file is missing or damaged (for example, counts differ or a row is zero or not finite), or its
            offsets are not in the taxonomy, or its synsets are of another version of WordNet.
        """
        tensors, metadata = read_tensors(path, ["embeddings"])
        embeddings = tensors["embeddings"]
        if embeddings.ndim != 2 or embeddings.dtype not in (np.float16, np.float32):
            layout = f"{embeddings.dtype} of shape {embeddings.shape}"
            raise BundleError(f"{path}: embeddings are {layout}; expected float16 or float32 of shape (N, d)")
        kind = metadata.get("kind")
        try:
            if kind == "phrases" and "names" in tensors:
                return cls(embeddings, phrases=decode_lines(tensors["names"], len(embeddings), f"{path}: names"))
            if kind == "synsets" and "offsets" in tensors:
                whole = taxonomy or Taxonomy.builtin()
                return cls(embeddings, taxonomy=_synsets_at(tensors["offsets"], metadata, whole, str(path)))
        except InputError as error:
            raise BundleError(f"{path}: {error}") from error
        names = ", ".join(sorted(tensors))
        raise BundleError(f"{path}: a bank of kind {kind!r} with {names}; expected synsets or phrases")


def _synsets_at(offsets: NDArray[np.generic], metadata: dict[str, str], whole: Taxonomy, path: str) -> Taxonomy:
    version = metadata.get("wordnet")
    if version != whole.version:
        raise BundleError(f"{path}: its synsets are of WordNet {version!r}, the taxonomy is of {whole.version!r}")
    if offsets.ndim != 1 or offsets.dtype != np.int64:
        raise BundleError(f"{path}: offsets are {offsets.dtype} of shape {offsets.shape}; expected (N,) int64")
    nodes = np.searchsorted(whole.offsets, offsets)
    unknown = np.flatnonzero(whole.offsets[np.minimum(nodes, len(whole) - 1)] != offsets)
    if unknown.size:
        raise BundleError(f"{path}: {offsets[unknown[0]]} is not the offset of a noun of WordNet {whole.version}")
    return whole.induced(nodes)
