"""Word lists: which lines count, in which order, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastconcept as fc
from fastconcept.errors import ExportError
from fastconcept.export import vocabulary
from fastconcept.export.banks import FREQUENT_NOUNS
from fastconcept.export.vocabulary import UNWANTED_NOUNS, main, noun_vocabulary, read_phrases, read_vocabulary
from fastconcept.export.wordnet import Database


def test_lines_are_stripped_and_the_last_of_equals_stays(tmp_path: Path) -> None:
    path = tmp_path / "words.txt"
    path.write_bytes("\ufeffkitten\r\n\r\n  a red ball \n\tkitten\nKitten\ngröße\u2028x\n \n".encode())
    assert read_phrases(path) == ["a red ball", "kitten", "Kitten", "größe\u2028x"]


@given(st.lists(st.text("ab \t", max_size=3), max_size=12), st.integers(1, 15))
def test_a_vocabulary_is_the_last_distinct_words(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], size: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "words.txt"
    path.write_text("\n".join(lines))
    expected: list[str] = []
    for line in reversed(lines):
        if line.strip() and line.strip() not in expected and len(expected) < size:
            expected.insert(0, line.strip())
    if expected:
        assert read_vocabulary(path, size) == expected
    else:
        with pytest.raises(ExportError):
            read_vocabulary(path, size)


def test_the_vocabulary_of_splice(shared: Path) -> None:
    path = shared / "reference" / "splice" / "laion.txt"
    lines = path.read_text().splitlines()
    words = read_vocabulary(path, 10_000)
    assert words == lines[-10_000:]
    assert words[-1] == "-"
    assert {"kitten", "motorbike"} <= set(words)
    assert len(read_vocabulary(path)) == 37_445
    assert len(read_vocabulary(path.with_name("mscoco.txt"))) == 12_832  # one line is empty


def test_files_that_are_no_lists_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for content, message in ((b"", "no phrases"), (b" \n\n", "no phrases"), (b"ok\n\xff\xfe", "line 2: not UTF-8")):
        (tmp_path / "words.txt").write_bytes(content)
        with pytest.raises(ExportError, match=message):
            read_phrases(tmp_path / "words.txt")
    for path in (tmp_path, tmp_path / "nothing.txt"):
        with pytest.raises(ExportError, match="cannot be read"):
            read_vocabulary(path, 10)
    (tmp_path / "words.txt").write_bytes(b"a\nb\n")
    with pytest.raises(ExportError, match="at least 1"):
        read_vocabulary(tmp_path / "words.txt", 0)
    monkeypatch.setattr(vocabulary, "_MAX_BYTES", 3)
    with pytest.raises(ExportError, match="at most 3"):
        read_phrases(tmp_path / "words.txt")


def test_the_most_frequent_nouns_make_a_vocabulary(tmp_path: Path) -> None:
    (tmp_path / "cntlist.rev").write_text("motor_vehicle%1:06:00:: 1 7\nidea%1:09:00:: 1 9\n")
    (tmp_path / "index.noun").write_text(
        "idea n 1 1 @ 1 1 00000010\nmotor_vehicle n 1 1 @ 1 1 00000020\n"
        "ox n 2 1 @ 2 0 00000030 00000040\nyak n 1 1 @ 1 0 00000050\n"
    )
    database = Database(tmp_path)
    assert noun_vocabulary(database, 4) == ["idea", "motor vehicle", "ox", "yak"]
    assert noun_vocabulary(database, 2) == ["idea", "motor vehicle"]
    for size in (0, 5):
        with pytest.raises(ExportError, match="1 to 4"):
            noun_vocabulary(database, size)


def test_no_word_list_of_the_package_has_an_unwanted_noun() -> None:
    unwanted = set(read_phrases(UNWANTED_NOUNS))
    assert len(unwanted) > 100 and not unwanted.intersection(["person", "boy", "cup"])
    words = fc.load().dictionary.words
    for shipped in (read_phrases(FREQUENT_NOUNS), words):
        assert len(shipped) > 1000
        assert unwanted.isdisjoint(word.lower() for word in shipped)


def test_a_vocabulary_leaves_unwanted_nouns_out(tmp_path: Path) -> None:
    (tmp_path / "cntlist.rev").write_text("bastard%1:06:00:: 1 7\nidea%1:09:00:: 1 3\n")
    (tmp_path / "data.noun").write_text("")
    (tmp_path / "index.noun").write_text("bastard n 1 1 @ 1 1 00000010\nidea n 1 1 @ 1 1 00000020\n")
    assert noun_vocabulary(Database(tmp_path), 1) == ["idea"]
    main([str(tmp_path), "-o", str(tmp_path / "nouns.txt"), "--size", "1"])
    assert (tmp_path / "nouns.txt").read_text() == "idea\n"
