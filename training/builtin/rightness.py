"""Whether a word is right for a photograph, as its captions or its class tell."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache

from fastconcept.concepts.taxonomy import Taxonomy

from .lessons import tokens

WIDE = 3000  # synsets below a kind, from which on it says nothing ("artifact")
_ENDINGS = ("ing", "ers", "er", "ies", "es", "ed", "s", "y")


@dataclass
class Said:
    """What is known of a photograph: the stems of words, and synsets."""

    stems: set[str] = field(default_factory=set)
    synsets: set[int] = field(default_factory=set)


def said_by(texts: Iterable[str]) -> Said:
    """Return the words of texts and the first senses of their nouns, which have one to three words.

    Examples
    --------
    >>> said = said_by(["A beagle plays with a tennis ball."])
    >>> [word for word in ("dog", "tennis ball", "playing", "cat") if is_right(word, said)]
    ['dog', 'tennis ball', 'playing']
    """
    said = Said()
    for text in texts:
        read = tokens(text)
        said.stems.update(map(_stem, read))
        spans = {" ".join(read[i : i + n]) for n in (1, 2, 3) for i in range(len(read) - n + 1)}
        said.synsets.update(node for span in spans if (node := _first_sense(span)) is not None)
    return said


def is_right(word: str, said: Said) -> bool:
    """Return whether the word, one for a kind of it, or one for what it is a kind of, was said."""
    return not _family(word).isdisjoint(said.synsets) or {_stem(part) for part in tokens(word)} <= said.stems


@cache
def narrow_kinds(node: int) -> frozenset[int]:
    """Return a synset and those above it that are not wide."""
    wordnet = Taxonomy.builtin()
    return frozenset(kind for kind in wordnet.closure([node]).tolist() if wordnet.subtree_sizes[kind] < WIDE)


@cache
def _family(word: str) -> frozenset[int]:
    """Synsets below the first sense of a word, or of the last word of an unknown phrase, and narrow kinds above."""
    node = _first_sense(word)
    node = _first_sense(word.split()[-1]) if node is None else node
    return frozenset() if node is None else narrow_kinds(node).union(Taxonomy.builtin().subtree(node).tolist())


@cache
def _first_sense(word: str) -> int | None:
    senses = Taxonomy.builtin().senses(word)
    return int(senses[0]) if len(senses) else None


def _stem(word: str) -> str:
    """The word without its ending: "plays" and "playing" are the same."""
    ending = next((end for end in _ENDINGS if word.endswith(end) and len(word) - len(end) >= 3), "")
    word = word.removesuffix(ending)
    return (word[:-1] if len(word) > 3 and word[-1] == word[-2] else word).rstrip("e")
