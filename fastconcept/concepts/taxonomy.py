"""WordNet's nouns: a graph of hypernyms with names, words and definitions."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike

from ..doors import door
from ..errors import BundleError, ConceptError, InputError
from ..kernels.forks import cached_property
from .graph import Csr, Int32, Int64, as_nodes
from .hierarchy import Hierarchy
from .nearby import did_you_mean
from .search import LemmaIndex, Resolution, as_lemma, split_synset_name
from .storage import read_tensors, write_tensors
from .synsets import SynsetWords

_BUILTIN = Path(__file__).parent.parent / "data" / "wordnet-3.0.safetensors"
_EDGES = {"hypernym_counts": np.uint8, "hypernyms": np.int32, "instance_counts": np.uint8, "instances": np.int32}
_TENSORS = ("offsets", "lemmas", "senses", "definitions", "plurals", *_EDGES)
_MAX_SYNSETS = 1_000_000
_WNID = re.compile(r"n(\d{8})", re.IGNORECASE | re.ASCII)
_Entry = TypeVar("_Entry")


class Taxonomy(Hierarchy):
    """Noun synsets with their words, in a graph of hypernyms.

    A node is an index in ``range(len(taxonomy))``; nodes are in the order of their WordNet offsets. The graph itself
    is described in :class:`~fastconcept.concepts.hierarchy.Hierarchy`.

    Use :meth:`builtin`, :meth:`load` or :meth:`from_synsets`.

    Source: Fellbaum, *WordNet: An Electronic Lexical Database*, 1998; files as in wndb(5WN).

    Examples
    --------
    >>> wordnet = Taxonomy.builtin()
    >>> dog = wordnet.index("dog.n.01")
    >>> wordnet.wnids[dog], wordnet.lemmas(dog)
    ('n02084071', ('dog', 'domestic_dog', 'Canis_familiaris'))
    >>> [wordnet.names[i] for i in wordnet.parents(dog)]
    ['canine.n.02', 'domestic_animal.n.01']
    >>> len(wordnet), len(wordnet.subtree(wordnet.index("entity.n.01")))
    (82115, 74374)
    """

    def __init__(
        self, offsets: Int64, hypernyms: Csr, instances: Csr, words: SynsetWords, rows: Int32, version: str
    ) -> None:
        super().__init__(hypernyms, instances)
        if not len(offsets) == len(hypernyms) == len(rows):
            raise InputError("every synset needs an offset, a row of each kind of edge and an entry of words")
        if offsets.size and (np.any(np.diff(offsets) <= 0) or offsets[0] < 0 or offsets[-1] > 99_999_999):
            raise InputError("synset offsets must rise strictly and have at most eight digits")
        self.offsets: Int64 = np.ascontiguousarray(offsets, dtype=np.int64).view()
        self.offsets.flags.writeable = False
        self.version = version
        self._words, self._rows = words, rows
        self._whole: Taxonomy = self

    # -- from and to files ---------------------------------------------------------------------------------------

    @classmethod
    def from_synsets(
        cls,
        offsets: ArrayLike,
        lemmas: Sequence[Sequence[str]],
        senses: Sequence[Sequence[int]],
        definitions: Sequence[str],
        hypernyms: Sequence[Sequence[int]],
        instance_hypernyms: Sequence[Sequence[int]],
        plurals: Mapping[str, Sequence[str]] = MappingProxyType({}),
        version: str = "3.0",
    ) -> Taxonomy:
        """Build from one entry per synset, in the order of offsets; hypernyms are indices of synsets.

        ``plurals`` has the singulars of irregular plurals: ``{"mice": ["mouse"]}``.

        Raises
        ------
        InputError
            If the lists differ in length, an index is out of range, the hypernyms form a cycle, or a word cannot be
            stored.
        """
        words = SynsetWords.pack(lemmas, senses, definitions, plurals)
        rows = np.arange(len(lemmas), dtype=np.int32)
        edges = Csr.from_rows(hypernyms), Csr.from_rows(instance_hypernyms)
        return cls(np.asarray(offsets, dtype=np.int64), *edges, words, rows, version)

    @classmethod
    def builtin(cls) -> Taxonomy:
        """All 82,115 nouns of WordNet 3.0. They ship with the package and are read once per process."""
        return _load_builtin()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Taxonomy:
        """Read a file written by :meth:`save`.

        Raises
        ------
        BundleError
            If the file is missing or damaged, an edge points nowhere, or the edges form a cycle. Damage inside the
            compressed text is noticed when the words are first used.
        """
        tensors, metadata = read_tensors(path, _TENSORS)
        offsets = tensors["offsets"]
        if metadata.get("kind") != "taxonomy":
            raise BundleError(f"{path}: holds {metadata.get('kind', 'something else')!r}; expected a taxonomy")
        if offsets.ndim != 1 or offsets.dtype != np.int32 or not 0 < offsets.size <= _MAX_SYNSETS:
            raise BundleError(f"{path}: offsets are {offsets.dtype} of shape {offsets.shape}; expected a list of int32")
        for name, dtype in _EDGES.items():
            if tensors[name].dtype != dtype or tensors[name].ndim != 1:
                raise BundleError(f"{path}: {name} are {tensors[name].dtype} of shape {tensors[name].shape}")
        words = SynsetWords.from_tensors(tensors, metadata, offsets.size, str(path))
        rows = np.arange(offsets.size, dtype=np.int32)
        try:
            hypernyms = Csr.from_counts(tensors["hypernym_counts"], tensors["hypernyms"])
            instances = Csr.from_counts(tensors["instance_counts"], tensors["instances"])
            return cls(offsets.astype(np.int64), hypernyms, instances, words, rows, metadata.get("wordnet", ""))
        except InputError as error:
            raise BundleError(f"{path}: {error}") from error

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one safetensors file. With one version of zlib, equal taxonomies give equal bytes."""
        words = self._words
        if self._whole is not self:
            rows = self._rows.tolist()
            lemmas, senses = map(words.lemmas, rows), map(words.senses, rows)
            words = SynsetWords.pack(lemmas, senses, self.definitions, words.plurals)
        tensors, metadata = words.tensors()
        for name, counts in (("hypernym", self._hypernyms.counts), ("instance", self._instances.counts)):
            if counts.max(initial=0) > 255:
                raise InputError(f"a synset has {counts.max()} {name} edges; at most 255 can be stored")
            tensors[f"{name}_counts"] = counts.astype(np.uint8)
        tensors["offsets"] = self.offsets.astype(np.int32)
        tensors["hypernyms"], tensors["instances"] = self._hypernyms.indices, self._instances.indices
        write_tensors(path, tensors, {"kind": "taxonomy", "wordnet": self.version, **metadata})

    # -- words ---------------------------------------------------------------------------------------------------

    def __repr__(self) -> str:
        return f"Taxonomy({len(self)} nouns of WordNet {self.version})"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Synset names as NLTK spells them, ``"dog.n.01"``."""
        return self._selected(self._words.names)

    @cached_property
    def wnids(self) -> tuple[str, ...]:
        """WordNet ids, ``"n02084071"``: the letter of the part of speech, then the offset."""
        return tuple(f"n{offset:08d}" for offset in self.offsets.tolist())

    @cached_property
    def definitions(self) -> tuple[str, ...]:
        """Definitions, without examples of use."""
        return self._selected(self._words.definitions)

    @door
    def lemmas(self, i: int, spaces: bool = False) -> tuple[str, ...]:
        """Lemmas of a synset as WordNet writes them (``polar_bear``), or for display, with spaces."""
        lemmas = self._words.lemmas(int(self._rows[self._node(i)]))
        return tuple(lemma.replace("_", " ") for lemma in lemmas) if spaces else lemmas

    def _selected(self, entries: list[_Entry]) -> tuple[_Entry, ...]:
        return tuple(entries) if self._whole is self else tuple(entries[row] for row in self._rows.tolist())

    # -- parts and search ----------------------------------------------------------------------------------------

    def induced(self, indices: ArrayLike) -> Taxonomy:
        """The taxonomy of some nodes: their words, and the edges between them.

        No edge is added across a hypernym that is missing, so such a taxonomy may fall into several trees.

        Raises
        ------
        InputError
            If the indices are not strictly ascending, or out of range.
        """
        nodes = as_nodes(indices, len(self))
        if np.any(np.diff(nodes) <= 0):
            raise InputError("indices must rise strictly, because nodes stay in the order of WordNet offsets")
        edges = self._hypernyms.restrict(nodes), self._instances.restrict(nodes)
        part = Taxonomy(self.offsets[nodes], *edges, self._words, self._rows[nodes], self.version)
        part._whole = self._whole
        return part

    @cached_property
    def _lemma_index(self) -> LemmaIndex:
        return LemmaIndex(self._words, self._rows)

    @door
    def index(self, name: str) -> int:
        """The node of a synset name or wnid, in any case. As in NLTK, each lemma of a synset with its sense names it.

        Raises
        ------
        ConceptError
            If there is no such synset here. Its ``suggestions`` are similar names or, if the synset exists in
            WordNet but not in this part of it, its nearest hypernyms here.

        Examples
        --------
        >>> Taxonomy.builtin().index("dgo.n.01")
        Traceback (most recent call last):
            ...
        fastconcept.errors.ConceptError: no noun synset 'dgo.n.01' in WordNet 3.0; did you mean dog.n.01, ...?
        """
        node = self.find(name)
        if node is not None:
            return node
        if self._whole is not self and (elsewhere := self._whole.find(name)) is not None:
            self._raise_outside(elsewhere)
        lemma, _, sense = split_synset_name(name) or (as_lemma(name), "n", 1)
        near = self._lemma_index.near(lemma, sense) or self._whole._lemma_index.near(lemma, sense)
        hint = did_you_mean(near, "names look like dog.n.01, wnids like n02084071")
        raise ConceptError(f"no noun synset {name!r} in WordNet {self.version}; {hint}", near)

    @door
    def find(self, name: str) -> int | None:
        """The node of a synset name or wnid as :meth:`index` understands it; None if there is none here."""
        if match := _WNID.fullmatch(name.strip()):
            i = int(np.searchsorted(self.offsets, int(match[1])))
            return i if i < len(self) and self.offsets[i] == int(match[1]) else None
        lemma, part_of_speech, sense = split_synset_name(name) or ("", "", 0)
        return self._lemma_index.node(lemma, sense) if part_of_speech == "n" else None

    def _outside(self, node: int) -> str:
        return f"{self._whole.names[node]} is a noun of WordNet, but not one of the {len(self):,} concepts here"

    def _raise_outside(self, elsewhere: int) -> None:
        whole = self._whole
        above = whole.closure([elsewhere])
        present = above[np.isin(whole.offsets[above], self.offsets)]
        near = [whole.names[i] for i in sorted(present.tolist(), key=lambda i: -int(whole.depth[i]))[:5]]
        hint = f"more general and present: {', '.join(near)}" if near else "nothing more general is here either"
        raise ConceptError(f"{self._outside(elsewhere)}; {hint}", near)

    @door
    def resolve(self, text: str) -> Resolution:
        """What a text means: a synset name, a wnid, a word of WordNet (its first noun sense), or a phrase.

        In a part of WordNet the index is None for a synset that only the whole of it has, and a word takes the first
        of its senses that is here.

        Raises
        ------
        ConceptError
            If the text is empty, or looks like a synset name or wnid that WordNet lacks.

        Examples
        --------
        >>> Taxonomy.builtin().resolve("polar bears")
        Resolution(kind='word', index=..., note="'polar bears' is taken as ice_bear.n.01 (...)")
        >>> Taxonomy.builtin().resolve("a red ball")
        Resolution(kind='phrase', index=None, note='')
        """
        if not text.strip():
            raise ConceptError("an empty text names no concept; give a synset name, a word or a phrase")
        is_wnid = _WNID.fullmatch(text.strip()) is not None
        if is_wnid or split_synset_name(text):
            node = self.find(text)
            if node is None and self._whole is not self and (elsewhere := self._whole.find(text)) is not None:
                return Resolution("wnid" if is_wnid else "synset", None, self._outside(elsewhere))
            return Resolution("wnid" if is_wnid else "synset", self.index(text) if node is None else node)
        forms = self._forms(text)
        if not forms:
            return Resolution("phrase", None)
        i, *others = self._lemma_index.nodes(forms[0])
        here = "" if self._whole is self else " here"
        rank = f"the first of {len(others) + 1} senses{here}" if others else f"its only sense{here}"
        return Resolution("word", i, f"{text!r} is taken as {self.names[i]} ({rank}: {self.definitions[i]})")

    def _forms(self, text: str) -> list[str]:
        """Lemmas that a text may be a form of; a hyphen counts as a space where WordNet does not have it."""
        forms = self._lemma_index.base_forms(as_lemma(text))
        return forms or self._lemma_index.base_forms(as_lemma(text.replace("-", " ")))

    @door
    def senses(self, word: str) -> list[int]:
        """All nodes that a word may mean: the senses of the word itself, then of its possible singulars.

        They are those of ``wordnet.synsets(word, pos="n")`` in NLTK, except that a space counts as an underscore.

        Examples
        --------
        >>> wordnet = Taxonomy.builtin()
        >>> [wordnet.names[i] for i in wordnet.senses("mice")]
        ['mouse.n.01', 'shiner.n.01', 'mouse.n.03', 'mouse.n.04']
        """
        return self._nodes_of(self._lemma_index.base_forms(as_lemma(word)))

    def _nodes_of(self, forms: list[str]) -> list[int]:
        return list(dict.fromkeys(i for form in forms for i in self._lemma_index.nodes(form)))

    @door
    def search(self, text: str, limit: int = 20) -> list[int]:
        """Nodes that match a text: the synset of that name or wnid; by their lemma or its singulars, in the order of
        senses; then by lemmas that start with it, by lemmas that contain it, and by definitions that contain it.

        Examples
        --------
        >>> wordnet = Taxonomy.builtin()
        >>> [wordnet.names[i] for i in wordnet.search("polar bear", limit=3)]
        ['ice_bear.n.01', 'thalarctos.n.01']
        """
        if not text.strip() or limit < 1:
            return []
        phrase = " ".join(text.lower().split())
        by_definition = (i for i, definition in enumerate(self.definitions) if phrase in definition.lower())
        node = self.find(text)
        nodes: dict[int, None] = {}  # ordered, without repeats
        named = self._nodes_of(self._forms(text)) if node is None else [node]
        for i in chain(named, self._lemma_index.search(as_lemma(text)), by_definition):
            nodes[i] = None
            if len(nodes) >= limit:
                break
        return list(nodes)


@cache
def _load_builtin() -> Taxonomy:
    return Taxonomy.load(_BUILTIN)
