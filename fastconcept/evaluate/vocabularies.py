"""Dictionaries of other words for the same model: fewer words, words of classes or captions, words drawn at random."""

from __future__ import annotations

import itertools
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..concepts.taxonomy import Taxonomy
from ..datasets.texts import read_lines
from ..engine import Engine
from ..errors import ConceptError, InputError
from ..sparse.dictionary import Dictionary
from ..sparse.result import unit
from .nulls import apply_control

FloatArray = npt.NDArray[np.float32]
KINDS = ("own", "classes", "random-words", "captions", "bigrams", "random-rows")
_DRAWN = 1000  # random words where no number is given


def vocabulary(
    engine: Engine, name: str, *, classes: Sequence[str] = (), captions: Iterable[str] = (), seed: int = 0
) -> Dictionary:
    """A dictionary by name.

    Parameters
    ----------
    engine : Engine
        Its text encoder embeds words that its own dictionary does not have.
    name : str
        One of ``KINDS``, with ``:N`` for N words, or the path of a text file with a word a line. *own*: the words of
        the engine's dictionary, N of them drawn at random; *classes*: the classes' names; *random-words*: words of
        WordNet drawn at random; *captions*: the words of captions, the frequent ones first; *bigrams*: those, and half
        as many pairs of neighbours; *random-rows*: as many directions as the engine's dictionary has words, which name
        nothing.
    classes : sequence of str
        Class names.
    captions : iterable of str
        Texts that *captions* and *bigrams* take words from.
    seed : int

    Returns
    -------
    Dictionary
        Centred on its own mean.

    Raises
    ------
    InputError
        If there is no such vocabulary, or it has fewer words than were asked for.

    Examples
    --------
    >>> import fastconcept as fc
    >>> vocabulary(fc.load(), "classes", classes=["lion", "tiger"]).words
    ('lion', 'tiger')
    """
    kind, _, size = name.partition(":")
    if kind not in KINDS:
        if not os.path.isfile(name):
            raise InputError(f"{name!r} is no vocabulary; give {', '.join(KINDS)}, with :N for N words, or a text file")
        return _embedded(engine, list(dict.fromkeys(read_lines(Path(name)))))
    if size and not (size.isdigit() and int(size) > 1):
        raise InputError(f"a vocabulary's size is a number of words above 1, such as {kind}:1000; got {name!r}")
    wanted = int(size) if size else None
    if kind == "random-rows":
        return apply_control(engine, "random-vocabulary", seed).dictionary
    if kind == "own":
        return _part_of(engine.dictionary, wanted, seed)
    words = _words(kind, wanted, classes, captions, seed)
    if wanted is not None and len(words) < wanted:
        raise InputError(f"the vocabulary {kind} has {len(words)} words, fewer than the {wanted} that were asked for")
    return _embedded(engine, words[:wanted])


def uncentred(dictionary: Dictionary) -> FloatArray:
    """The unit text embeddings that a dictionary's rows were made of, up to rounding: (N, d) float32.

    A row C is ``norm(t - m)``, so ``t = s C + m`` with the one s > 0 that makes t of length one.

    Examples
    --------
    >>> uncentred(Dictionary.from_embeddings(["cat", "dog"], np.eye(2))).round(5) + 0
    array([[1., 0.],
           [0., 1.]], dtype=float32)
    """
    rows, mean = dictionary.embeddings.astype(np.float64), dictionary.mean.astype(np.float64)
    along = rows @ mean
    scale = np.sqrt(np.maximum(along**2 + 1 - mean @ mean, 0.0)) - along
    return unit(scale[:, None] * rows + mean).astype(np.float32)


def _part_of(dictionary: Dictionary, size: int | None, seed: int) -> Dictionary:
    """Some of the words, drawn at random and centred on their own mean; those of a smaller size are in a larger one."""
    if size is None or size == len(dictionary):
        return dictionary
    if size > len(dictionary):
        raise InputError(f"the dictionary has {len(dictionary)} words, fewer than the {size} that were asked for")
    chosen = np.sort(np.random.default_rng(seed).permutation(len(dictionary))[:size])
    return Dictionary.from_embeddings([dictionary.words[i] for i in chosen], uncentred(dictionary)[chosen])


def _embedded(engine: Engine, words: Sequence[str]) -> Dictionary:
    if len(words) < 2:
        raise InputError(f"a dictionary needs two words at least, got {len(words)}")
    return Dictionary.from_embeddings(words, engine.encode_text(words))


def _words(kind: str, size: int | None, classes: Sequence[str], captions: Iterable[str], seed: int) -> list[str]:
    if kind == "classes":
        return list(dict.fromkeys(map(spoken, classes)))
    if kind == "random-words":
        wordnet = Taxonomy.builtin()
        drawn = np.random.default_rng(seed).permutation(len(wordnet))[: 2 * (size or _DRAWN)].tolist()
        return list(dict.fromkeys(wordnet.lemmas(i, spaces=True)[0] for i in drawn))[: size or _DRAWN]
    sentences = [tokens(caption) for caption in captions]
    if not sentences:
        raise InputError(f"the vocabulary {kind} needs captions, and the data has none; name data that has some")
    single = Counter(word for words in sentences for word in words if len(word) > 2)
    listed = [word for word, _ in single.most_common()]
    if kind == "captions":
        return listed
    pairs = Counter(" ".join(pair) for words in sentences for pair in itertools.pairwise(words))
    count = len(listed) if size is None else size - size // 3
    return listed[:count] + [pair for pair, _ in pairs.most_common((count + 1) // 2)]


def spoken(label: str) -> str:
    """A label as a word: the first lemma of a synset or wnid, anything else as it is.

    Examples
    --------
    >>> spoken("ice_bear.n.01"), spoken("a striped pet")
    ('ice bear', 'a striped pet')
    """
    wordnet, node = Taxonomy.builtin(), node_of(label)
    kind = "" if node is None else wordnet.resolve(label).kind
    return wordnet.lemmas(node, spaces=True)[0] if node is not None and kind in ("synset", "wnid") else label


def node_of(label: str | None) -> int | None:
    """The synset of a label, or None where it has none.

    Examples
    --------
    >>> node_of("no such thing at all") is None, Taxonomy.builtin().names[node_of("polar bear") or 0]
    (True, 'ice_bear.n.01')
    """
    try:
        return Taxonomy.builtin().resolve(label).index if label else None
    except ConceptError:
        return None


def tokens(text: str) -> list[str]:
    """The words of a text in small letters.

    Examples
    --------
    >>> tokens("A man's dog, running.")
    ['a', "man's", 'dog', 'running']
    """
    return re.findall(r"[^\W\d_]+(?:['’][^\W\d_]+)?", text.lower())
