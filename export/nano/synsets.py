"""The few facts of WordNet that training needs: noun synsets, their closure over a word list, tag counts."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Nouns:
    """All noun synsets of one WordNet database, keyed by their offset.

    Attributes
    ----------
    definitions : dict of int to str
        Gloss up to the first example.
    lemmas : dict of int to list of str
        Names as written, blanks for underscores.
    parents : dict of int to list of int
        Targets of the ``@`` pointers.
    senses : dict of str to list of int
        Offsets of a lower-case lemma (underscores kept), most frequent sense first.
    counts : dict of str to int
        Occurrences of a noun lemma in the tagged texts (``cntlist.rev``).
    plurals : dict of str to list of str
        Irregular plurals and their singulars (``noun.exc``).
    """

    definitions: dict[int, str] = field(default_factory=dict)
    lemmas: dict[int, list[str]] = field(default_factory=dict)
    parents: dict[int, list[int]] = field(default_factory=dict)
    senses: dict[str, list[int]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    plurals: dict[str, list[str]] = field(default_factory=dict)

    def closure(self, words: list[str]) -> list[int]:
        """Return every noun synset of the words and all their hypernyms, sorted by offset.

        Instances (Turkey the country) have no ``@`` pointer, hence no place under ``entity.n.01``, and are left out.
        """
        forms = [form for word in words for form in _forms(word.lower().replace(" ", "_"), self.plurals)]
        waiting = [offset for form in forms for offset in self.senses.get(form, [])]
        met: set[int] = set()
        while waiting:
            offset = waiting.pop()
            if offset not in met:
                met.add(offset)
                waiting.extend(self.parents[offset])
        return sorted(offset for offset in met if self.parents[offset] or self.lemmas[offset] == ["entity"])


_ENDINGS = (
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


def _forms(word: str, plurals: dict[str, list[str]]) -> list[str]:
    """Return the word and its possible singulars, as WordNet's morphy makes them."""
    if word in plurals:
        return [word, *plurals[word]]
    return [word, *(word[: -len(old)] + new for old, new in _ENDINGS if word.endswith(old))]


def read_nouns(wordnet: str | Path = "/usr/share/wordnet") -> Nouns:
    """Parse ``data.noun``, ``index.noun`` and ``cntlist.rev`` of a WordNet 3.0 directory."""
    nouns, folder = Nouns(), Path(wordnet)
    for line in (folder / "data.noun").read_text(encoding="utf-8").splitlines():
        if line.startswith(" "):
            continue
        record, _, gloss = line.partition("|")
        fields = record.split()
        offset, size = int(fields[0]), int(fields[3], 16)
        nouns.lemmas[offset] = [fields[4 + 2 * i].replace("_", " ") for i in range(size)]
        pointers = fields[5 + 2 * size :]
        nouns.parents[offset] = [int(pointers[i + 1]) for i in range(0, len(pointers), 4) if pointers[i] == "@"]
        nouns.definitions[offset] = gloss.partition('; "')[0].strip()
    for line in (folder / "index.noun").read_text(encoding="utf-8").splitlines():
        if not line.startswith(" "):
            fields = line.split()
            nouns.senses[fields[0]] = [int(x) for x in fields[-int(fields[2]) :]]
    for line in (folder / "noun.exc").read_text(encoding="utf-8").splitlines():
        plural, *singulars = line.split()
        nouns.plurals[plural] = singulars
    for line in (folder / "cntlist.rev").read_text(encoding="utf-8").splitlines():
        sense_key, _, count = line.split()
        lemma, _, rest = sense_key.partition("%")
        if rest.startswith("1"):
            nouns.counts[lemma] += int(count)
    return nouns


def read_adjectives(wordnet: str | Path = "/usr/share/wordnet", most: int = 400) -> list[str]:
    """Return the adjectives that the tagged texts use most."""
    counts: dict[str, int] = defaultdict(int)
    for line in (Path(wordnet) / "cntlist.rev").read_text(encoding="utf-8").splitlines():
        sense_key, _, count = line.split()
        lemma, _, rest = sense_key.partition("%")
        if rest[0] in "35" and "_" not in lemma:
            counts[lemma] += int(count)
    return [word for word, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:most]]
