"""What to look for: from the words a user writes to rows of the bank, or to an embedding of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..concepts.bank import ConceptBank
from ..concepts.taxonomy import Taxonomy
from ..doors import is_visible
from ..errors import ConceptError

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Target:
    """A concept to look for.

    Attributes
    ----------
    concept : str
        As it was asked for.
    name : str
        What it was taken for: a synset name, or the phrase itself.
    note : str
        How it was understood; empty where nothing had to be decided.
    members : int32 array or None
        Rows of the bank: the concept and its sub-concepts. None for a concept outside the bank.
    embedding : (d,) float32 or None
        Of a concept outside the bank.
    """

    concept: str
    name: str
    note: str
    members: npt.NDArray[np.int32] | None
    embedding: FloatArray | None = None


def resolve_targets(
    concepts: str | Sequence[str],
    bank: ConceptBank,
    encode_text: Callable[[Sequence[str]], FloatArray],
    notes_of: Callable[[Sequence[str]], Sequence[str]] = lambda texts: [""] * len(texts),
) -> list[Target]:
    """Understand each concept: a synset of the bank, a synset of WordNet, or a phrase.

    A synset that the bank lacks stands for its sub-concepts that the bank has; where it has none of them, the
    synset's definition is encoded and ranked against the bank, as a phrase is.

    Parameters
    ----------
    concepts : str or sequence of str
        Synset names, wnids, words of WordNet (first noun sense) or free phrases.
    bank : ConceptBank
    encode_text : callable
        Texts to unit rows; called at most once, and only for concepts outside the bank.
    notes_of : callable, optional
        What a user should know of how each of these texts was encoded.

    Returns
    -------
    list of Target
        In order.

    Raises
    ------
    ConceptError
        If none is given, one is empty, or a synset name or wnid is unknown (``suggestions`` has near names).
    """
    names = [concepts] if isinstance(concepts, str) else list(concepts)
    if not names:
        raise ConceptError("no concept was given; name at least one, for instance dog.n.01")
    for name in names:
        if not isinstance(name, str) or not is_visible(name):
            raise ConceptError(f"a concept must be a string that is not empty and prints, got {name!r}")
    found = [_in_bank(name, bank) or _outside(name, bank) for name in names]
    texts = [text for _, text in found if text is not None]
    encoded = zip(encode_text(texts), notes_of(texts), strict=True) if texts else iter(())
    targets = []
    for target, text in found:
        if text is not None:
            embedding, note = next(encoded)
            target = Target(target.concept, target.name, _join(target.note, note), None, embedding)
        targets.append(target)
    return targets


def _in_bank(concept: str, bank: ConceptBank) -> tuple[Target, None] | None:
    """The concept as the bank knows it."""
    try:
        resolved = bank.resolve(concept)
    except ConceptError:
        return None  # WordNet may know it; if not, its error names near synsets of all of WordNet
    if resolved.index is None:
        return None
    name = bank.names[resolved.index]
    return Target(concept, name, resolved.note, bank.subtree(name)), None


def _outside(concept: str, bank: ConceptBank) -> tuple[Target, str | None]:
    """A concept the bank lacks, with the text to encode unless its sub-concepts stand for it."""
    wordnet = Taxonomy.builtin()
    meaning = wordnet.resolve(concept)
    if meaning.index is None:
        return Target(concept, concept, "taken as a phrase and ranked against the bank", None), concept
    name = wordnet.names[meaning.index]
    members = _members_in_bank(wordnet, meaning.index, bank)
    if len(members):
        note = f"{name} is not in the bank; the {len(members)} of its sub-concepts that are stand for it"
        return Target(concept, name, _join(meaning.note, note), members), None
    note = f"{name} is not in the bank; its definition is ranked against it"
    return Target(concept, name, _join(meaning.note, note), None), wordnet.definitions[meaning.index]


def _members_in_bank(wordnet: Taxonomy, index: int, bank: ConceptBank) -> npt.NDArray[np.int32]:
    if bank.taxonomy is None:
        return np.empty(0, np.int32)
    wanted = wordnet.offsets[wordnet.subtree(index)]
    return np.flatnonzero(np.isin(bank.taxonomy.offsets, wanted)).astype(np.int32)


def _join(*notes: str) -> str:
    return "; ".join(note for note in notes if note)


def unrelated(bank: ConceptBank, target: Target, generator: np.random.Generator) -> Target:
    """A concept of the bank, drawn at random, that shares no member with a target."""
    for _ in range(1000):
        name = bank.names[int(generator.integers(len(bank)))]
        members = bank.subtree(name)
        if target.members is None or not np.isin(members, target.members).any():
            break  # a concept as wide as the root leaves nothing unrelated: then any will do
    return Target(name, name, "drawn at random", members)
