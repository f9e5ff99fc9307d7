"""Reads the nouns of a WordNet database and chooses sets of concepts from them.

The database is a directory with ``data.noun`` and ``index.noun`` (format: wndb(5WN)), as in Debian's
``wordnet-base`` or in the ``wordnet`` corpus of NLTK. Names and definitions are spelled as NLTK spells them.

``python -m fastconcept.export.wordnet [DIR] -o FILE`` writes the taxonomy that ships with the package.
"""

from __future__ import annotations

import argparse
import re
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..concepts.taxonomy import Taxonomy
from ..errors import ExportError

_USUAL_PLACES = ("/usr/share/wordnet", "/usr/local/WordNet-3.0/dict", "/opt/homebrew/opt/wordnet/dict")
_INSTALL = "install Debian's wordnet-base, or run: python -m nltk.downloader wordnet"
_QUOTED = re.compile(r'"[^"]*"')
_VERSION = re.compile(r"WordNet (\d+(?:\.\d+)*) Copyright")


class Database:
    """A WordNet database: a directory, or a zip archive as NLTK downloads it, with ``data.noun`` and the like."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def read(self, name: str) -> str:
        """Text of one file.

        Raises
        ------
        ExportError
            The file is missing or not UTF-8.
        """
        try:
            if self.path.suffix == ".zip":
                with zipfile.ZipFile(self.path) as archive:
                    inside = next((entry for entry in archive.namelist() if entry.split("/")[-1] == name), name)
                    return archive.read(inside).decode("utf-8")
            return (self.path / name).read_text("utf-8")
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise ExportError(f"{self.path}: no readable {name}; name a WordNet database, or {_INSTALL}") from error
        except UnicodeDecodeError as error:
            raise ExportError(f"{self.path}: {name} is not UTF-8 text ({error})") from error

    def records(self, name: str) -> Iterator[tuple[int, str]]:
        """Numbered lines of one file, without the licence at its top (its lines start with spaces)."""
        for number, line in enumerate(self.read(name).split("\n"), 1):
            if line and not line.startswith(" "):
                yield number, line


def find_database(path: str | Path | None = None) -> Database:
    """The database at ``path`` (a directory, or NLTK's ``wordnet.zip``); without a path, NLTK's or the system's.

    Raises
    ------
    ExportError
        There is none.
    """
    if path is not None:
        database = Database(path)
        if not database.path.exists():
            raise ExportError(f"{path}: no such WordNet database; {_INSTALL}")
        if database.path.suffix != ".zip" and not (database.path / "data.noun").is_file():
            raise ExportError(f"{path}: holds no data.noun; name the directory of a WordNet database, or {_INSTALL}")
        return database
    for place in (*_nltk_places(), *map(Path, _USUAL_PLACES)):
        if place.suffix == ".zip" or (place / "data.noun").is_file():
            return Database(place)
    places = ", ".join(_USUAL_PLACES)
    raise ExportError(f"no WordNet database in NLTK's data nor in {places}; {_INSTALL}, or name its directory")


def _nltk_places() -> list[Path]:
    """NLTK's corpus, unpacked or as the zip archive that its downloader leaves."""
    try:
        import nltk
    except ImportError:
        return []
    places = [Path(folder) / "corpora" / name for folder in nltk.data.path for name in ("wordnet", "wordnet.zip")]
    return [place for place in places if place.exists()]


@dataclass
class _Synset:
    """One record of data.noun."""

    offset: int
    lemmas: tuple[str, ...]
    hypernyms: list[int] = field(default_factory=list)
    instance_hypernyms: list[int] = field(default_factory=list)
    definition: str = ""


def definition_of(gloss: str) -> str:
    """The gloss without its quoted examples, as NLTK's ``Synset.definition()`` gives it.

    Examples
    --------
    >>> definition_of(' a member of the genus Canis; occurs in many breeds; "the dog barked all night"  ')
    'a member of the genus Canis; occurs in many breeds'
    """
    return _QUOTED.sub("", gloss).strip().strip("; ")


def _parse_synset(line: str) -> _Synset:
    columns, _, gloss = line.partition("|")
    fields = columns.split()
    n_lemmas = int(fields[3], 16)
    lemmas = tuple(re.sub(r"\([^()]*\)$", "", lemma) for lemma in fields[4 : 4 + 2 * n_lemmas : 2])
    synset = _Synset(int(fields[0]), lemmas, definition=definition_of(gloss))
    start = 5 + 2 * n_lemmas
    pointers = fields[start : start + 4 * int(fields[start - 1])]
    if len(pointers) != 4 * int(fields[start - 1]):
        raise ValueError("fewer pointers than promised")
    for symbol, offset, part_of_speech in zip(pointers[::4], pointers[1::4], pointers[2::4], strict=True):
        if symbol == "@" and part_of_speech == "n":
            synset.hypernyms.append(int(offset))
        elif symbol == "@i" and part_of_speech == "n":
            synset.instance_hypernyms.append(int(offset))
    return synset


def read_senses(database: Database) -> dict[str, list[int]]:
    """``index.noun``: from a lemma in lower case to the offsets of its synsets, in the order of the senses."""
    senses: dict[str, list[int]] = {}
    for number, line in database.records("index.noun"):
        fields = line.split()
        try:
            senses[fields[0]] = [int(offset) for offset in fields[-int(fields[2]) :]]
        except (IndexError, ValueError) as error:
            raise ExportError(f"{database.path}: index.noun, line {number}: {error}; is the file whole?") from error
    return senses


def read_plurals(database: Database) -> dict[str, list[str]]:
    """``noun.exc``: from an irregular plural to its singulars (the last line on it counts, as in NLTK)."""
    return {plural: singulars for plural, *singulars in (line.split() for _, line in database.records("noun.exc"))}


def read_licence(database: Database) -> str:
    """The licence at the top of ``data.noun``, without its line numbers."""
    lines = [line for line in database.read("data.noun")[:8000].split("\n") if line.startswith(" ")]
    return "\n".join(re.sub(r"^ +\d+ ", "", line).rstrip() for line in lines).strip() + "\n"


def noun_lemmas_by_count(database: Database) -> list[str]:
    """All noun lemmas, spaces for underscores, by falling frequency.

    The frequency is how often the semantic concordance (``cntlist.rev``) uses the lemma, in any of its noun senses.
    It is small: it has 11,908 of the 117,798 lemmas of WordNet 3.0, and many only once. Of equally frequent lemmas,
    those with many senses come first (they are the commoner words), then short ones, then by the alphabet.
    """
    counts: dict[str, int] = {}
    for number, line in database.records("cntlist.rev"):
        try:
            key, _, count = line.split()
            lemma, _, sense = key.partition("%")
            if sense.startswith("1:"):  # lexicographers' part of speech 1 is the noun
                counts[lemma] = counts.get(lemma, 0) + int(count)
        except ValueError as error:
            raise ExportError(f"{database.path}: cntlist.rev, line {number}: {error}; is the file whole?") from error
    senses = read_senses(database)
    ranks = {lemma: (-counts.get(lemma, 0), -len(synsets), len(lemma), lemma) for lemma, synsets in senses.items()}
    return [lemma.replace("_", " ") for lemma in sorted(ranks, key=ranks.__getitem__)]


def words_closure(
    taxonomy: Taxonomy, words: Iterable[str], root: str = "entity.n.01"
) -> tuple[NDArray[np.int32], list[str]]:
    """ConVis's concept set: all noun senses of all words, and all their hypernyms up to the root.

    A sense that does not reach the root by ``@`` alone (Lake Superior, an instance) is left out, as in the reference.
    For the reference's own list of 1,980 words this gives 7,082 synsets: the reference has 7,080 because it does not
    find "creme brulee" and "dune buggy", whose spaces WordNet writes as underscores.

    Returns
    -------
    ids : (n,) int32
        Nodes, ascending.
    unknown : list of str
        Words that WordNet does not contain.
    """
    senses = {word: taxonomy.senses(word) for word in words}
    under = np.zeros(len(taxonomy), bool)
    under[taxonomy.subtree(taxonomy.index(root))] = True
    starts = [node for nodes in senses.values() for node in nodes if under[node]]
    return taxonomy.closure(starts), [word for word, nodes in senses.items() if not nodes]


def nouns(taxonomy: Taxonomy) -> NDArray[np.int32]:
    """All nodes, instances included."""
    return np.arange(len(taxonomy), dtype=np.int32)


def descendants(taxonomy: Taxonomy, roots: Iterable[str]) -> NDArray[np.int32]:
    """Nodes of some synsets and of everything below them, ascending; a ConceptError for an unknown name."""
    below = [taxonomy.subtree(taxonomy.index(root)) for root in roots]
    return np.unique(np.concatenate([np.zeros(0, np.int32), *below]))


def read_taxonomy(database: Database) -> Taxonomy:
    """All nouns of a database.

    Raises
    ------
    ExportError
        A record cannot be parsed, a pointer leads nowhere, or a lemma is missing from the index.
    """
    synsets: list[_Synset] = []
    for number, line in database.records("data.noun"):
        try:
            synsets.append(_parse_synset(line))
        except (IndexError, ValueError) as error:
            raise ExportError(f"{database.path}: data.noun, line {number}: {error}; is the file whole?") from error
    synsets.sort(key=lambda synset: synset.offset)
    position = {synset.offset: i for i, synset in enumerate(synsets)}
    senses = read_senses(database)
    version = _VERSION.search(database.read("data.noun")[:4000])
    try:
        return Taxonomy.from_synsets(
            [synset.offset for synset in synsets],
            [synset.lemmas for synset in synsets],
            [[senses[lemma.lower()].index(synset.offset) + 1 for lemma in synset.lemmas] for synset in synsets],
            [synset.definition for synset in synsets],
            [[position[offset] for offset in synset.hypernyms] for synset in synsets],
            [[position[offset] for offset in synset.instance_hypernyms] for synset in synsets],
            read_plurals(database),
            version[1] if version else "",
        )
    except (KeyError, ValueError) as error:
        raise ExportError(f"{database.path}: data.noun disagrees with index.noun or itself ({error})") from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the taxonomy file, and the licence of the database beside it."""
    parser = argparse.ArgumentParser("python -m fastconcept.export.wordnet", description="Write a taxonomy of nouns.")
    parser.add_argument("database", nargs="?", help="directory of the database; by default NLTK's or the system's")
    parser.add_argument("-o", "--output", required=True, type=Path, help="the .safetensors file to write")
    options = parser.parse_args(arguments)
    database = find_database(options.database)
    taxonomy = read_taxonomy(database)
    taxonomy.save(options.output)
    options.output.with_suffix(".LICENSE").write_text(read_licence(database), "utf-8")
    print(f"{options.output}: {taxonomy}")


if __name__ == "__main__":
    main()
