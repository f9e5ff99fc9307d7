"""Have the words of a code to do with the picture? Measured against its label and its captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..concepts.taxonomy import Taxonomy
from ..datasets.items import Item
from ..kernels.csr import SparseCodes
from .nulls import shuffle
from .vocabularies import node_of, tokens

Float = npt.NDArray[np.float64]


class Relevance:
    """Which words are relevant to which items.

    A word is relevant if one of its senses in WordNet is the label's synset, above it or below it, or if it occurs in
    a caption. Synsets above the labels of all items tell nothing and do not count.

    Parameters
    ----------
    items : sequence of Item

    Examples
    --------
    >>> judge = Relevance([Item("a", label="lion.n.01"), Item("b", label="car.n.01", captions=("A red car.",))])
    >>> [judge.is_relevant(word, 0) for word in ("lions", "big cat", "entity", "car")]
    [True, True, False, False]
    >>> judge.is_relevant("red", 1)
    True
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self._wordnet = Taxonomy.builtin()
        self._nodes = [node_of(item.label) for item in items]
        self._captions = [
            " ".join(["", *(w for caption in item.captions for w in [*tokens(caption), "."]), ""]) for item in items
        ]
        above = {
            node: frozenset(self._wordnet.closure([node]).tolist()) for node in set(self._nodes) if node is not None
        }
        shared = frozenset.intersection(*above.values()) if len(above) > 1 else frozenset()
        self._related = {
            node: (upper - shared) | frozenset(self._wordnet.subtree(node).tolist()) for node, upper in above.items()
        }
        self._senses: dict[str, frozenset[int]] = {}

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """(n,) items with a label of WordNet or a caption; of the others nothing can be said."""
        pairs = zip(self._nodes, self._captions, strict=True)
        return np.array([node is not None or bool(text.strip()) for node, text in pairs], bool)

    def is_relevant(self, word: str, item: int) -> bool:
        """Whether a word has to do with an item."""
        if word not in self._senses:
            self._senses[word] = frozenset(self._wordnet.senses(word))
        node = self._nodes[item]
        if node is not None and self._senses[word] & self._related[node]:
            return True
        return f" {' '.join(tokens(word))} " in self._captions[item]

    def shares(self, codes: SparseCodes, words: Sequence[str], order: npt.NDArray[np.integer] | None = None) -> Float:
        """Part of the words of each code that are relevant to its item, (n,) float64.

        A word of negative weight says what is not there and is never relevant; a code without words has none.

        Parameters
        ----------
        codes : SparseCodes
            Of the items.
        words : sequence of str
            Those of the dictionary.
        order : (n,) integers, optional
            The item that each code is judged by, instead of its own.
        """
        shares = np.zeros(len(self._nodes))
        for i, (indices, values) in enumerate(codes.rows()):
            item = i if order is None else int(order[i])
            hits = sum(self.is_relevant(words[k], item) for k in indices[values > 0])
            shares[i] = hits / max(len(indices), 1)
        return shares

    def by_chance(self, codes: SparseCodes, words: Sequence[str], seed: int) -> Float:
        """The same where every code is judged by the label and captions of another item."""
        return self.shares(codes, words, shuffle(len(self._nodes), seed))
