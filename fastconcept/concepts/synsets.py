"""The words of a taxonomy: lemmas, sense numbers and definitions, unpacked when they are first needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleError, InputError
from ..kernels.csr import Lists, starts
from ..kernels.forks import cached_property
from .graph import Int32
from .storage import PackedLines, Tensors


class SynsetWords:
    """Lemmas, senses and definitions of N synsets, and the irregular plurals of their language.

    Parameters
    ----------
    lemmas, definitions : PackedLines
        One line per synset. Spaces separate the lemmas of a line.
    senses : (L,) uint8
        Sense number of every lemma, synset after synset: its place among the senses of that lemma, from 1.
    plurals : PackedLines
        Irregular plurals. Each line is a plural and its singulars, separated by spaces.
    """

    def __init__(
        self, lemmas: PackedLines, senses: NDArray[np.uint8], definitions: PackedLines, plurals: PackedLines
    ) -> None:
        self._lemmas, self._senses, self._definitions, self._plurals = lemmas, senses, definitions, plurals

    @classmethod
    def pack(
        cls,
        lemmas: Iterable[Sequence[str]],
        senses: Iterable[Sequence[int]],
        definitions: Sequence[str],
        plurals: Mapping[str, Sequence[str]],
    ) -> SynsetWords:
        """Pack from one entry per synset, and one per irregular plural.

        Raises
        ------
        InputError
            If a lemma is empty or holds white space, a sense is not in 1..255, or a synset has no lemma or definition.
        """
        rows = [tuple(row) for row in lemmas]
        numbers = [tuple(row) for row in senses]
        if [len(row) for row in rows] != [len(row) for row in numbers] or len(rows) != len(definitions):
            raise InputError("every lemma needs a sense number and every synset a definition")
        for row in (*rows, *((plural, *plurals[plural]) for plural in plurals)):
            if not row or any(lemma.split() != [lemma] for lemma in row):
                raise InputError(f"{row!r}: synsets and plurals need words without white space")
        flat = [number for row in numbers for number in row]
        if flat and not 1 <= min(flat) <= max(flat) <= 255:
            raise InputError(f"sense numbers must lie in 1..255, not {min(flat)}..{max(flat)}")
        return cls(
            PackedLines.pack([" ".join(row) for row in rows], "lemmas"),
            np.array(flat, dtype=np.uint8),
            PackedLines.pack(definitions, "definitions"),
            PackedLines.pack([" ".join((plural, *plurals[plural])) for plural in sorted(plurals)], "plurals"),
        )

    @classmethod
    def from_tensors(cls, tensors: Tensors, metadata: Mapping[str, str], count: int, where: str) -> SynsetWords:
        """The words in the tensors and metadata of a file. Text is checked when it is unpacked.

        Raises
        ------
        BundleError
            If a number is missing, or the senses have another type or shape; ``where`` names the file.
        """

        def packed(name: str, lines: int) -> PackedLines:
            return PackedLines(tensors[name], _number(metadata, f"{name}_bytes", where), lines, f"{where}: {name}")

        senses = tensors["senses"]
        if senses.dtype != np.uint8 or senses.ndim != 1 or not np.all(senses):
            raise BundleError(f"{where}: senses are {senses.dtype} of shape {senses.shape}; expected positive uint8")
        plurals = packed("plurals", _number(metadata, "plurals", where))
        return cls(packed("lemmas", count), senses.astype(np.uint8), packed("definitions", count), plurals)

    def tensors(self) -> tuple[Tensors, dict[str, str]]:
        """Tensors and metadata that :meth:`from_tensors` understands."""
        packed = {"lemmas": self._lemmas, "definitions": self._definitions, "plurals": self._plurals}
        tensors: Tensors = {name: lines.data for name, lines in packed.items()}
        metadata = {f"{name}_bytes": str(lines.size) for name, lines in packed.items()}
        return tensors | {"senses": self._senses}, metadata | {"plurals": str(self._plurals.count)}

    @cached_property
    def _flat(self) -> list[str]:
        return " ".join(self._lemmas.lines).split(" ")

    @cached_property
    def _numbers(self) -> Lists:
        """The sense numbers, listed by synset; they lie as the lemmas do in ``_flat``."""
        bounds = starts(line.count(" ") + 1 for line in self._lemmas.lines)
        if bounds[-1] != self._senses.size:
            raise BundleError(f"{bounds[-1]} lemmas but {self._senses.size} sense numbers; the taxonomy is damaged")
        return Lists(bounds, self._senses)

    def lemmas(self, row: int) -> tuple[str, ...]:
        """Lemmas of one synset, as WordNet writes them."""
        start, end = self._numbers.indptr[row : row + 2]
        return tuple(self._flat[start:end])

    def senses(self, row: int) -> tuple[int, ...]:
        """Sense numbers of these lemmas."""
        return tuple(self._numbers.row(row).tolist())

    def occurrences(self, rows: Int32) -> tuple[list[str], NDArray[np.int64], NDArray[np.uint8]]:
        """Lemmas of many synsets in lower case, and for each its place in ``rows`` and its sense number."""
        numbers = self._numbers.select(rows)
        entries = self._numbers.places(rows)
        whole = entries.size == len(self._flat)
        words = self._flat if whole else [self._flat[entry] for entry in entries.tolist()]
        return "\n".join(words).lower().split("\n"), numbers.owners, numbers.indices

    @cached_property
    def names(self) -> list[str]:
        """Synset names as NLTK spells them: the first lemma in lower case, ``.n.`` and its sense, ``dog.n.01``."""
        senses = self._senses[self._numbers.indptr[:-1]].tolist()
        firsts = "\n".join(line.partition(" ")[0] for line in self._lemmas.lines).lower().split("\n")
        return [f"{lemma}.n.{sense:02d}" for lemma, sense in zip(firsts, senses, strict=True)]

    @property
    def definitions(self) -> list[str]:
        """Definition of each synset."""
        return self._definitions.lines

    @cached_property
    def plurals(self) -> dict[str, tuple[str, ...]]:
        """Irregular plurals and their singulars: ``{"mice": ("mouse",), ...}``."""
        rows = (line.split(" ") for line in self._plurals.lines)
        return {plural: tuple(singulars) for plural, *singulars in rows}


def _number(metadata: Mapping[str, str], key: str, where: str) -> int:
    text = metadata.get(key, "")
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise BundleError(f"{where}: {key} is {text!r}; expected a number")
    return int(text)
