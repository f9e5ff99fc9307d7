"""Synsets by name, by word and by text: the side of a taxonomy that a printed dictionary has."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..kernels.forks import cached_property
from .graph import Int32
from .nearby import NearNames
from .synsets import SynsetWords

_SYNSET_LIKE = re.compile(r"(.+)\.([nvars])\.([0-9]+)", re.DOTALL | re.IGNORECASE)
_DETACHED = (
    ("s", ""),
    ("ses", "s"),
    ("ves", "f"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
)


@dataclass(frozen=True)
class Resolution:
    """What a text means to a taxonomy or a bank.

    Attributes
    ----------
    kind : {"synset", "wnid", "word", "phrase"}
        Whether it is a synset name, a WordNet id, a word or collocation of WordNet, or any other text.
    index : int or None
        The concept that it means. None for a phrase, and for a synset of WordNet that is not in the bank; such
        concepts have no embedding yet.
    note : str
        A sentence that tells the user of a choice that was made for them; empty if there was no choice.
    """

    kind: Literal["synset", "wnid", "word", "phrase"]
    index: int | None
    note: str = ""


def as_lemma(text: str) -> str:
    """A text as WordNet would spell it as a lemma, in lower case: ``"Polar  bear"`` gives ``"polar_bear"``."""
    return "_".join(text.lower().split())


def singulars(lemma: str) -> list[str]:
    """Singular forms that WordNet's rules of detachment allow for a noun (morphy(7WN)).

    Examples
    --------
    >>> singulars("churches"), singulars("dog")
    (['churche', 'church'], [])
    """
    return [lemma[: -len(end)] + singular for end, singular in _DETACHED if lemma.endswith(end) and lemma != end]


def split_synset_name(text: str) -> tuple[str, str, int] | None:
    """Lemma, part of speech and sense of a text that looks like a synset name, else None.

    Examples
    --------
    >>> split_synset_name("Dog.n.01"), split_synset_name("a dog. n. 1")
    (('dog', 'n', 1), None)
    """
    match = _SYNSET_LIKE.fullmatch(text.strip())
    return (as_lemma(match[1]), match[2].lower(), int(match[3][:9])) if match else None


def _name(lemma: str, sense: int) -> str:
    return f"{lemma}.n.{sense:02d}"


class LemmaIndex:
    """The nodes that each lemma (in lower case) names, in the order of its senses.

    Parameters
    ----------
    words : SynsetWords
        The words of all synsets.
    rows : (N,) int32
        Row of ``words`` that belongs to each node.
    """

    def __init__(self, words: SynsetWords, rows: Int32) -> None:
        lemmas, nodes, senses = words.occurrences(rows)
        by_sense = np.argsort(senses, kind="stable").tolist()
        self._entries: dict[str, list[int]] = {}
        for entry in by_sense:
            self._entries.setdefault(lemmas[entry], []).append(entry)
        self._nodes, self._senses, self._plurals = nodes, senses, words.plurals

    @cached_property
    def _near(self) -> NearNames:
        lemmas = list(self._entries)
        counts = np.fromiter(map(len, self._entries.values()), np.int64, len(lemmas))
        return NearNames([lemmas[i] for i in np.argsort(-counts, kind="stable").tolist()])  # common words have many

    def nodes(self, lemma: str) -> list[int]:
        """Nodes of a lemma in the order of their senses; empty if there are none."""
        # A synset may have one lemma in two spellings (Cat, CAT).
        return list(dict.fromkeys(self._nodes[self._entries.get(lemma, [])].tolist()))

    def node(self, lemma: str, sense: int) -> int | None:
        """The node of one sense of a lemma, or None."""
        return next((int(self._nodes[k]) for k in self._entries.get(lemma, ()) if self._senses[k] == sense), None)

    def base_forms(self, lemma: str) -> list[str]:
        """Known lemmas that this one may be a form of: itself, then its singulars, in NLTK's order."""
        forms = [lemma, *(self._plurals[lemma] if lemma in self._plurals else singulars(lemma))]
        return [form for form in dict.fromkeys(forms) if form in self._entries]

    def near(self, lemma: str, sense: int, limit: int = 5) -> list[str]:
        """Names that the user may have meant: other senses of the lemma, or the same sense of similar lemmas.

        A name has the similar lemma (``polar_bear.n.01``), even if another lemma names the synset (``ice_bear.n.01``).
        """
        if lemma in self._entries:
            return list(dict.fromkeys(_name(lemma, self._senses[k]) for k in self._entries[lemma]))[:limit]
        near = dict.fromkeys((*self.base_forms(lemma), *self._near.find(lemma, limit)))
        senses = {other: [self._senses[k] for k in self._entries[other]] for other in near}
        return [_name(other, sense if sense in senses[other] else senses[other][0]) for other in near][:limit]

    def search(self, lemma: str) -> Iterator[int]:
        """Nodes of this lemma by sense, then of lemmas that start with it, then of lemmas that contain it.

        Shorter lemmas come first. A node comes once for each of its lemmas that matches.
        """
        yield from self.nodes(lemma)
        matches = [name for name in self._entries if lemma in name]
        for name in sorted((name for name in matches if name.startswith(lemma)), key=lambda name: (len(name), name)):
            yield from self.nodes(name)
        for name in sorted(matches, key=lambda name: (len(name), name)):
            yield from self.nodes(name)
