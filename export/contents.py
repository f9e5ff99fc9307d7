"""What a bundle holds beside its encoders: concept banks, a dictionary and an image mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..bundle import L1_PENALTY, NO_WORD
from ..concepts.taxonomy import Taxonomy
from ..errors import ExportError
from .banks import FREQUENT_NOUNS, BankPlan, plan_banks, safe_name
from .mean import sample_images
from .vocabulary import noun_vocabulary, read_phrases, read_vocabulary
from .wordnet import Database, find_database, read_taxonomy


@dataclass(frozen=True)
class Contents:
    """The concepts, words and photographs to export with a model.

    Parameters
    ----------
    words, roots, synsets, nouns, phrases
        The concept banks, see :func:`fastconcept.export.banks.plan_banks`; by default everything below
        ``physical_entity.n.01``.
    vocabulary : path, optional
        The dictionary of sparse decompositions: a text file, one word a line, sorted by rising frequency, of which
        the last ``vocabulary_size`` are taken. By default the most frequent nouns of WordNet.
    vocabulary_size : int
        Most words in the dictionary; 0 for no dictionary.
    l1_penalty : float
        Penalty of decompositions that are not asked for another. What SpLiCE's authors use suits CLIP; where
        embeddings lie closer together, words are more often right with a larger one.
    mean_images : path, optional
        A directory whose images give the mean embedding that sparse decompositions subtract.
    mean_limit : int, optional
        Size of a seeded sample of these images; all of them by default.
    image_mean : path, optional
        The mean itself, in a safetensors file, instead of ``mean_images``.
    image_mean_name : str, optional
        Which tensor of that file, where there are several.
    wordnet : path, optional
        A WordNet database; by default the taxonomy that ships with the package.

    Examples
    --------
    >>> plan = Contents(roots=["cat.n.01"], vocabulary_size=3).plan()
    >>> plan.banks[0].name, plan.words
    ('roots-cat', ('person', 'group', 'man'))
    """

    words: str | Path | None = None
    roots: Sequence[str] | None = None
    synsets: str | Path | None = None
    nouns: bool = False
    phrases: str | Path | None = None
    vocabulary: str | Path | None = None
    vocabulary_size: int = 10_000
    l1_penalty: float = L1_PENALTY
    mean_images: str | Path | None = None
    mean_limit: int | None = None
    image_mean: str | Path | None = None
    image_mean_name: str | None = None
    wordnet: str | Path | None = None

    def plan(self) -> Plan:
        """Read every file that is named and choose what will be encoded, before a model is loaded.

        Raises
        ------
        ExportError
            If two options exclude each other, or a file cannot be read or holds nothing of use.
        ConceptError
            If a root is not a noun synset.
        """
        if self.mean_images and self.image_mean:
            raise ExportError("--mean-images and --image-mean exclude each other; give one")
        if not 0 < self.l1_penalty < NO_WORD:
            raise ExportError(f"--l1-penalty must be above 0 and below {NO_WORD}, got {self.l1_penalty}")
        database = find_database(self.wordnet) if self.wordnet else None
        chosen = (self.words, self.roots, self.synsets, self.nouns, self.phrases)
        banks = plan_banks(*chosen, _taxonomy(database))
        return Plan(
            banks=tuple(banks),
            dictionary=safe_name(Path(self.vocabulary or "wordnet").stem),
            words=tuple(_words(self.vocabulary, self.vocabulary_size, database)),
            l1_penalty=float(self.l1_penalty),
            keep="last" if self.vocabulary else "first",
            photos=tuple(sample_images(Path(self.mean_images), self.mean_limit)) if self.mean_images else (),
            image_mean=Path(self.image_mean) if self.image_mean else None,
            image_mean_name=self.image_mean_name,
            from_wordnet=self.vocabulary is None or any(bank.taxonomy for bank in banks),
        )


@dataclass(frozen=True)
class Plan:
    """Contents whose files have been read."""

    banks: tuple[BankPlan, ...]
    dictionary: str  # its name
    words: tuple[str, ...]  # of the dictionary; none: no dictionary
    l1_penalty: float
    keep: str  # which of words with equal tokens: the more frequent
    photos: tuple[Path, ...]  # whose embeddings are averaged
    image_mean: Path | None
    image_mean_name: str | None
    from_wordnet: bool  # some text is WordNet's

    @property
    def texts(self) -> list[str]:
        """Everything that will be encoded."""
        return [*self.words, *(text for bank in self.banks for text in bank.texts)]


def _taxonomy(database: Database | None) -> Taxonomy | None:
    """The nouns of a database on disk, which must be of the version that the runtime knows."""
    if database is None:
        return None
    taxonomy, known = read_taxonomy(database), Taxonomy.builtin().version
    if taxonomy.version != known:
        raise ExportError(f"{database.path} is WordNet {taxonomy.version or 'unknown'}, banks are read with {known}")
    return taxonomy


def _words(vocabulary: str | Path | None, size: int, database: Database | None) -> list[str]:
    """The vocabulary of the dictionary; none if ``size`` is 0."""
    if size < 0:
        raise ExportError(f"--vocabulary-size must be 0 or more, got {size}")
    if size == 0:
        return []
    if vocabulary is not None:
        return read_vocabulary(vocabulary, size)
    if database is not None:
        return noun_vocabulary(database, size)
    words = read_phrases(FREQUENT_NOUNS)
    if size > len(words):
        raise ExportError(f"{len(words)} nouns come with the package, not {size}; give --wordnet or --vocabulary")
    return words[:size]
