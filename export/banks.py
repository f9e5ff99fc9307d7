"""Which concepts an export encodes: synsets of WordNet, or phrases."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .. import bundle
from ..concepts.bank import ConceptBank
from ..concepts.taxonomy import Taxonomy
from ..errors import ExportError
from .vocabulary import read_phrases
from .wordnet import descendants, words_closure

FREQUENT_NOUNS = Path(bundle.__file__).parent / "data" / "wordnet-3.0-frequent-nouns.txt"
"""The nouns of WordNet that its tagged texts use, most frequent first."""

DEFAULT_ROOTS = ("physical_entity.n.01",)
"""What is encoded when nobody chooses: everything one can touch or see, 39,000 of WordNet's 82,115 nouns."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BankPlan:
    """A concept bank before its texts are encoded."""

    name: str
    taxonomy: Taxonomy | None = None  # the synsets, or
    phrases: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """What is encoded: definitions, or the phrases."""
        return self.taxonomy.definitions if self.taxonomy is not None else self.phrases

    def bank(self, embeddings: npt.NDArray[np.float32]) -> ConceptBank:
        """The bank with the embeddings of :attr:`texts`."""
        if self.taxonomy is not None:
            return ConceptBank(embeddings, taxonomy=self.taxonomy)
        return ConceptBank(embeddings, phrases=self.phrases)


def plan_banks(
    words: str | Path | None = None,
    roots: Sequence[str] | None = None,
    synsets: str | Path | None = None,
    nouns: bool = False,
    phrases: str | Path | None = None,
    taxonomy: Taxonomy | None = None,
) -> list[BankPlan]:
    """Choose the concept banks of a bundle; the first is its default.

    Parameters
    ----------
    words : path, optional
        A text file, one word a line: the bank ``convis`` of all their noun senses with all hypernyms of these.
    roots : sequence of str, optional
        Synsets: the bank ``roots-<lemma>-...`` of these and everything below them.
    synsets : path, optional
        A text file, one synset a line: a bank named as the file, of just these with all their hypernyms.
    nouns : bool
        The bank ``nouns`` of all of WordNet's.
    phrases : path, optional
        A text file, one phrase a line: a bank named as the file, without taxonomy.
    taxonomy : Taxonomy, optional
        The synsets to choose from; by default those that ship with the package.

    Returns
    -------
    list of BankPlan
        In the order of the parameters; :data:`DEFAULT_ROOTS` where nothing is chosen.

    Raises
    ------
    ExportError
        If a file cannot be read or holds nothing of use.
    ConceptError
        If a root or a synset of the file is not a noun synset.
    """
    if not (words or roots or synsets or nouns or phrases):
        roots = DEFAULT_ROOTS
    plans: list[BankPlan] = []
    if words or roots or synsets or nouns:
        taxonomy = taxonomy or Taxonomy.builtin()
        if words:
            plans.append(BankPlan("convis", taxonomy.induced(_closure(taxonomy, Path(words)))))
        if roots:
            name = safe_name("-".join(["roots", *(root.split(".")[0] for root in roots)]))
            plans.append(BankPlan(name, taxonomy.induced(descendants(taxonomy, roots))))
        if synsets:
            nodes = taxonomy.closure([taxonomy.index(name) for name in read_phrases(synsets)])
            plans.append(BankPlan(_free_name(synsets, "synsets", plans), taxonomy.induced(nodes)))
        if nouns:
            plans.append(BankPlan("nouns", taxonomy))
    if phrases:
        plans.append(BankPlan(_free_name(phrases, "phrases", plans), phrases=tuple(read_phrases(phrases))))
    return plans


def _free_name(file: str | Path, kind: str, plans: Sequence[BankPlan]) -> str:
    name = safe_name(Path(file).stem)
    return f"{kind}-{name}" if name in {"nouns", *(plan.name for plan in plans)} else name


def _closure(taxonomy: Taxonomy, file: Path) -> npt.NDArray[np.int32]:
    nodes, unknown = words_closure(taxonomy, read_phrases(file))
    if not len(nodes):
        raise ExportError(f"{file}: none of its words is a noun of WordNet; for other phrases use --phrases")
    if unknown:
        shown = ", ".join(unknown[:8]) + (", ..." if len(unknown) > 8 else "")
        _log.warning("%s: %d words are not in WordNet and were left out: %s", file, len(unknown), shown)
    return nodes


def safe_name(text: str) -> str:
    """A name for a bank or dictionary that is also a file name.

    Examples
    --------
    >>> safe_name("my words (2)")
    'my-words-2'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", text).strip("-.")[:60] or "unnamed"
