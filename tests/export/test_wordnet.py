"""The WordNet reader, against NLTK's, against known facts, and against broken databases."""

from __future__ import annotations

import doctest
import os
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import fastconcept
from fastconcept.concepts.taxonomy import Taxonomy
from fastconcept.errors import ConceptError, ExportError
from fastconcept.export import wordnet
from fastconcept.export.banks import FREQUENT_NOUNS
from fastconcept.export.vocabulary import noun_vocabulary, read_phrases
from fastconcept.export.wordnet import Database

WORDNET = Path(os.environ.get("WORDNET", "/usr/share/wordnet"))
SHIPPED = Path(fastconcept.__file__).parent / "data"

DATA = """\
  1 WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved.
00000010 03 n 01 entity 0 001 ~ 00000020 n 0000 | that which is
00000020 03 n 02 Living_thing 0 life(p) 1 002 @ 00000010 n 0000 + 00000099 v 0101 | "alive" and well; "she | he"; so
00000030 03 n 01 Tom 0 001 @i 00000020 n 0000 | a cat
"""
INDEX = """\
  1 WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved.
entity n 1 1 ~ 1 1 00000010
life n 1 2 @ + 1 0 00000020
living_thing n 1 2 @ + 1 0 00000020
tom n 1 1 @ 1 0 00000030
"""
COUNTS = "life%1:03:00:: 1 7\nentity%1:03:00:: 1 2\nlife%2:30:00:: 1 50\nTom%1:03:00:: 2 1\ngone%1:03:00:: 1 9\n"


@pytest.fixture(scope="module")
def database() -> Database:
    if not (WORDNET / "data.noun").is_file():
        pytest.skip(f"no WordNet database in {WORDNET} (set WORDNET, or install wordnet-base)")
    return wordnet.find_database(WORDNET)


@pytest.fixture(scope="module")
def taxonomy(database: Database) -> Taxonomy:
    return wordnet.read_taxonomy(database)


@pytest.fixture
def tiny(tmp_path: Path) -> Database:
    files = {"data.noun": DATA, "index.noun": INDEX, "noun.exc": "lives life\n", "cntlist.rev": COUNTS}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    return Database(tmp_path)


def test_the_shipped_files_are_what_the_database_gives(database: Database, taxonomy: Taxonomy, tmp_path: Path) -> None:
    made, shipped = (folder / "wordnet-3.0.safetensors" for folder in (tmp_path, SHIPPED))
    taxonomy.save(made)
    for name, tensor in load_file(made).items():
        other = load_file(shipped)[name]
        if name in ("lemmas", "definitions", "plurals"):
            assert zlib.decompress(tensor.tobytes()) == zlib.decompress(other.tobytes())
        else:
            assert np.array_equal(tensor, other)
    if "ng" not in zlib.ZLIB_RUNTIME_VERSION:  # zlib-ng packs the same text into other bytes
        assert made.read_bytes() == shipped.read_bytes()
    assert wordnet.read_licence(database) == (SHIPPED / "wordnet-3.0.LICENSE").read_text()
    assert shipped.stat().st_size < 6_000_000


def test_names_words_and_edges_are_those_of_nltk(
    database: Database, taxonomy: Taxonomy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nltk = pytest.importorskip("nltk")
    from nltk.corpus.reader.wordnet import WordNetCorpusReader

    class Reader(WordNetCorpusReader):
        def map_wn(self, version: str = "wordnet") -> None:
            """Maps to other releases of WordNet need files that are not here."""

    for file in WORDNET.iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "lexnames").write_text("".join(f"{i:02d}\tnoun.any\t1\n" for i in range(45)))
    monkeypatch.setattr(nltk.data, "path", [*nltk.data.path, str(tmp_path)])
    with pytest.warns(UserWarning, match="multilingual"):
        reader = Reader(str(tmp_path), None)
    for i in range(0, len(taxonomy), 37):
        synset = reader.synset_from_pos_and_offset("n", int(taxonomy.offsets[i]))
        assert (synset.name(), synset.definition()) == (taxonomy.names[i], taxonomy.definitions[i])
        assert tuple(synset.lemma_names()) == taxonomy.lemmas(i)
        for theirs, ours in (
            (synset.hypernyms, taxonomy.parents),
            (synset.instance_hypernyms, taxonomy.instance_parents),
        ):
            assert sorted(s.offset() for s in theirs()) == sorted(taxonomy.offsets[ours(i)])
        if i % 5 == 0:
            assert sorted(map(len, synset.hypernym_paths())) == sorted(map(len, taxonomy.paths_to_root(i)))
            assert (synset.max_depth(), synset.min_depth()) == (taxonomy.depth[i], len(taxonomy.path_to_root(i)) - 1)
    for word in ("dog", "mice", "glasses", "polar_bear", "Aries", "men", "oxen", "brushes", "xyzzy", "feet", "physics"):
        theirs = dict.fromkeys(synset.offset() for synset in reader.synsets(word, pos="n"))
        assert taxonomy.offsets[taxonomy.senses(word)].tolist() == list(theirs)


def test_the_concept_set_of_convis(shared: Path) -> None:
    whole = Taxonomy.builtin()
    words = (shared / "reference" / "physical_objects.txt").read_text().splitlines()
    assert len(words) == len(set(words)) == 1_980
    ids, unknown = wordnet.words_closure(whole, words)
    part = whole.induced(ids)
    assert (len(part), part.parent_indices.size, part.depth.max()) == (7_082, 7_316, 18)
    assert int((np.diff(part.parent_indptr) > 1).sum()) == 231
    assert len(part.subtree(part.index("bird.n.01"))) == 91
    assert part.subtree(part.index("entity.n.01")).size == len(part)
    assert len(unknown) == 51
    assert {"aftershave", "jalapeño", "zebrafish"} <= set(unknown)
    as_in_nltk, _ = wordnet.words_closure(whole, [word for word in words if " " not in word])
    assert len(as_in_nltk) == 7_080  # the reference's own constant: NLTK finds no word with a space in it


def test_the_closure_of_words_is_their_senses_and_all_hypernyms() -> None:
    whole = Taxonomy.builtin()
    ids, unknown = wordnet.words_closure(whole, ["polar bears", "xyzzy", "einstein"])
    assert unknown == ["xyzzy"]
    starts = [i for word in ("ice_bear", "einstein") for i in whole.senses(word) if len(whole.parents(i))]
    assert ids.tolist() == whole.closure(starts).tolist()
    assert whole.index("einstein.n.01") not in ids  # an instance
    assert wordnet.words_closure(whole, [])[0].size == 0


def test_all_nouns_and_descendants_of_roots() -> None:
    whole = Taxonomy.builtin()
    assert wordnet.nouns(whole).tolist() == list(range(82_115))
    assert len(wordnet.descendants(whole, ["physical_entity.n.01"])) == 39_556
    both = wordnet.descendants(whole, ["cat.n.01", "dog.n.01", "cat.n.01"])
    assert both.tolist() == sorted(
        {*whole.subtree(whole.index("cat.n.01")).tolist(), *whole.subtree(whole.index("dog.n.01")).tolist()}
    )
    assert wordnet.descendants(whole, []).size == 0
    with pytest.raises(ConceptError):
        wordnet.descendants(whole, ["dgo.n.01"])


def test_every_field_of_a_record_counts(tiny: Database) -> None:
    taxonomy = wordnet.read_taxonomy(tiny)
    assert taxonomy.names == ("entity.n.01", "living_thing.n.01", "tom.n.01")
    assert taxonomy.lemmas(1) == ("Living_thing", "life")  # (p) is a syntactic marker
    assert taxonomy.definitions[1] == "and well; ; so"
    assert taxonomy.parents(1).tolist() == [0]
    assert (taxonomy.parents(2).tolist(), taxonomy.instance_parents(2).tolist()) == ([], [1])
    assert taxonomy.senses("lives") == [1]
    assert taxonomy.version == "3.0"


def test_the_command_writes_the_taxonomy_and_its_licence(
    tiny: Database, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wordnet.main([str(tiny.path), "-o", str(tmp_path / "tiny.safetensors")])
    assert "3 nouns of WordNet 3.0" in capsys.readouterr().out
    assert Taxonomy.load(tmp_path / "tiny.safetensors").names == wordnet.read_taxonomy(tiny).names
    licence = (tmp_path / "tiny.LICENSE").read_text()
    assert licence == "WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved.\n"


def test_lemmas_by_count(tiny: Database) -> None:
    assert wordnet.noun_lemmas_by_count(tiny) == ["life", "entity", "tom", "living thing"]


def test_the_most_frequent_nouns(database: Database) -> None:
    lemmas = wordnet.noun_lemmas_by_count(database)
    assert len(lemmas) == len(set(lemmas)) == 117_798
    assert lemmas[:4] == ["person", "group", "man", "location"]


def test_the_shipped_list_is_what_the_command_writes(database: Database) -> None:
    shipped = read_phrases(FREQUENT_NOUNS)
    assert noun_vocabulary(database, len(shipped)) == shipped


def test_a_zip_archive_serves_as_well(tiny: Database, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "renamed.zip", "w") as archive:
        for name in ("data.noun", "index.noun", "noun.exc"):
            archive.write(tmp_path / name, f"wordnet/{name}")
    zipped = wordnet.read_taxonomy(wordnet.find_database(tmp_path / "renamed.zip"))
    assert zipped.names == wordnet.read_taxonomy(tiny).names
    with pytest.raises(ExportError, match=r"cntlist\.rev"):
        wordnet.noun_lemmas_by_count(Database(tmp_path / "renamed.zip"))


@pytest.mark.parametrize("form", ["wordnet", "wordnet.zip"])
def test_the_corpus_of_nltk_is_found(
    tiny: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    nltk = pytest.importorskip("nltk")
    place = tmp_path / "nltk_data" / "corpora" / form
    place.parent.mkdir(parents=True)
    if form == "wordnet":
        place.mkdir()
        for name in ("data.noun", "index.noun", "noun.exc"):
            (place / name).write_bytes((tmp_path / name).read_bytes())
    else:
        with zipfile.ZipFile(place, "w") as archive:
            for name in ("data.noun", "index.noun", "noun.exc"):
                archive.write(tmp_path / name, f"wordnet/{name}")
    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk_data")])
    found = wordnet.find_database()
    assert found.path == place
    assert len(wordnet.read_taxonomy(found)) == 3


def test_a_missing_database_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in (tmp_path, tmp_path / "nothing", tmp_path / "nothing.zip"):
        with pytest.raises(ExportError, match="wordnet-base"):
            wordnet.find_database(path)
    (tmp_path / "bad.zip").write_bytes(b"not a zip")
    with pytest.raises(ExportError, match=r"data\.noun"):
        wordnet.read_taxonomy(wordnet.find_database(tmp_path / "bad.zip"))
    monkeypatch.setattr(wordnet, "_USUAL_PLACES", (str(tmp_path),))
    monkeypatch.setattr(wordnet, "_nltk_places", list)
    with pytest.raises(ExportError, match="wordnet-base"):
        wordnet.find_database()


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("data.noun", "00000020 03 n 02 Living", "00000020 03 n zz Living"),
        ("data.noun", "001 @i 00000020 n 0000", "002 @i 00000020 n 0000"),
        ("data.noun", "001 @i 00000020 n 0000 | a cat", ""),
        ("data.noun", "@i 00000020", "@i 00000021"),
        ("data.noun", "| a cat", "|"),
        ("data.noun", "00000010 03 n 01 entity 0 001 ~ 00000020", "00000010 03 n 01 entity 0 001 @ 00000020"),
        ("data.noun", "00000030 03", "00000020 03"),
        ("index.noun", "tom n 1 1 @ 1 0 00000030\n", ""),
        ("index.noun", "00000030", "00000031"),
        ("index.noun", "tom n 1", "tom n x"),
    ],
)
def test_a_broken_database_is_an_export_error_that_names_it(tiny: Database, file: str, old: str, new: str) -> None:
    path = tiny.path / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ExportError, match=str(tiny.path)):
        wordnet.read_taxonomy(tiny)


def test_other_broken_files(tiny: Database) -> None:
    (tiny.path / "cntlist.rev").write_text("life%1:03:00:: 1 seven\n")
    with pytest.raises(ExportError, match="line 1"):
        wordnet.noun_lemmas_by_count(tiny)
    (tiny.path / "noun.exc").write_bytes(b"\xff\xfe")
    with pytest.raises(ExportError, match="UTF-8"):
        wordnet.read_taxonomy(tiny)


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(wordnet).failed == 0
