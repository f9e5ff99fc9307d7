"""Lists of words and phrases: the words of a dictionary, the phrases of a bank."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from .. import bundle
from ..errors import ExportError
from .wordnet import Database, find_database, noun_lemmas_by_count

UNWANTED_NOUNS = Path(bundle.__file__).parent / "data" / "unwanted-nouns.txt"
"""Slurs, swear words and nouns of sex: WordNet has them, and no word list that ships with the package does."""

_MAX_BYTES = 64 << 20


def read_phrases(path: str | Path) -> list[str]:
    """The distinct words or phrases of a UTF-8 text file, one a line, in the order of the file.

    White space around a line and empty lines are dropped. Banks and dictionaries refuse repeats, so only the last of
    several equal lines is taken; lines that differ in case are not equal. Only line feeds end a line (with or without
    a carriage return), so no other character can split a phrase.

    Raises
    ------
    ExportError
        If the file cannot be read, is not UTF-8, is larger than 64 MB, or holds no phrase.
    """
    try:
        size = Path(path).stat().st_size
        if size > _MAX_BYTES:
            raise ExportError(f"{path}: {size} bytes; a list of words has at most {_MAX_BYTES}")
        text = Path(path).read_text("utf-8-sig")
    except OSError as error:
        reason = error.strerror or error
        raise ExportError(f"{path}: cannot be read ({reason}); give a text file, one phrase a line") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise ExportError(f"{path}, line {line}: not UTF-8 text; save the file as UTF-8, one phrase a line") from error
    lines = [line.strip() for line in text.split("\n")]
    phrases = list(dict.fromkeys(line for line in reversed(lines) if line))[::-1]
    if not phrases:
        raise ExportError(f"{path}: holds no phrases; expected one a line")
    return phrases


def read_vocabulary(path: str | Path, size: int | None = None) -> list[str]:
    """The last ``size`` distinct words of a list that is sorted from rare to frequent, in the order of the file.

    SpLiCE takes the last 10,000 lines of its ``laion.txt`` in this way. Without a ``size``, or if the list is shorter,
    all words are taken. Lines are read as in :func:`read_phrases`.

    Raises
    ------
    ExportError
        As in :func:`read_phrases`, or if ``size`` is not positive.

    Source: Bhalla et al., *Interpreting CLIP with Sparse Linear Concept Embeddings*, arXiv 2402.10376, section 4.1.
    """
    if size is not None and size < 1:
        raise ExportError(f"a vocabulary of {size} words; ask for at least 1")
    words = read_phrases(path)
    return words if size is None else words[-size:]


def acceptable(words: Iterable[str]) -> list[str]:
    """The words that one may show to anybody: without those of :data:`UNWANTED_NOUNS`, whatever their case.

    Examples
    --------
    >>> acceptable(["person", "Bastard", "hammer"])
    ['person', 'hammer']
    """
    unwanted = _unwanted()
    return [word for word in words if word.lower() not in unwanted]


@lru_cache
def _unwanted() -> frozenset[str]:
    return frozenset(read_phrases(UNWANTED_NOUNS))


def noun_vocabulary(database: Database, size: int = 10_000) -> list[str]:
    """The ``size`` most frequent nouns of WordNet, the most frequent first, as ``noun_lemmas_by_count`` ranks them.

    They are words and collocations, with spaces: ``"person"``, ``"motor vehicle"``. :func:`acceptable` leaves some out.

    Raises
    ------
    ExportError
        If ``size`` is not positive, or larger than the number of nouns in WordNet.
    """
    ranked = acceptable(noun_lemmas_by_count(database))
    if not 1 <= size <= len(ranked):
        raise ExportError(f"a vocabulary of {size} nouns; there are {len(ranked)}, so ask for 1 to {len(ranked)}")
    return ranked[:size]


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the most frequent nouns of a database to a file, the most frequent first."""
    parser = argparse.ArgumentParser("python -m fastconcept.export.vocabulary", description="Write frequent nouns.")
    parser.add_argument("database", nargs="?", help="directory of the database; by default NLTK's or the system's")
    parser.add_argument("-o", "--output", required=True, type=Path, help="the text file to write")
    parser.add_argument("--size", type=int, default=10_000, help="how many nouns")
    options = parser.parse_args(arguments)
    words = noun_vocabulary(find_database(options.database), options.size)
    options.output.write_text("\n".join(words) + "\n", "utf-8")
    print(f"{options.output}: {len(words)} nouns")


if __name__ == "__main__":
    main()
