"""Concept banks and dictionaries: rows, names, files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from fastconcept.concepts.bank import ConceptBank
from fastconcept.concepts.taxonomy import Taxonomy
from fastconcept.errors import BundleError, ConceptError, InputError

Change = Callable[[dict[str, np.ndarray], dict[str, str]], None]
SYNSETS = {"kind": "synsets", "wordnet": "3.0", "text": "definition"}


def rows(count: int, dim: int = 8) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, dim)).astype(np.float32)


@pytest.fixture(scope="module")
def taxonomy() -> Taxonomy:
    wordnet = Taxonomy.builtin()
    names = ("dog.n.01", "cat.n.01", "ice_bear.n.01", "ladder-back.n.01")
    return wordnet.induced(wordnet.closure(sorted(map(wordnet.index, names))))


@pytest.fixture
def bank(taxonomy: Taxonomy) -> ConceptBank:
    return ConceptBank(rows(len(taxonomy)), taxonomy=taxonomy)


@pytest.fixture
def phrases() -> ConceptBank:
    return ConceptBank(rows(3), phrases=["a red ball", "A blue ball", "größe"])


def test_rows_are_unit_float32_whatever_comes_in(taxonomy: Taxonomy) -> None:
    for dtype in (np.float16, np.float32, np.float64):
        for scale in (1e-3, 1.0, 1e3):
            bank = ConceptBank((rows(len(taxonomy)) * scale).astype(dtype)[:, ::-1], taxonomy=taxonomy)
            assert bank.embeddings.dtype == np.float32
            assert bank.embeddings.flags.c_contiguous
            assert not bank.embeddings.flags.writeable
            assert np.abs(np.linalg.norm(bank.embeddings.astype(np.float64), axis=1) - 1).max() < 1e-7


@given(st.integers(1, 40), st.integers(1, 20), st.sampled_from([1e-100, 1e-30, 1.0, 1e30, 1e100]))
def test_lengths_neither_overflow_nor_vanish(count: int, dim: int, scale: float) -> None:
    vectors = np.random.default_rng(dim).normal(size=(count, dim))
    unit = ConceptBank(vectors * scale, phrases=[f"p{i}" for i in range(count)]).embeddings
    expected = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    assert np.abs(unit - expected).max() < 1e-6
    again = ConceptBank(unit, phrases=[f"p{i}" for i in range(count)]).embeddings
    assert np.abs(again - unit).max() <= 6e-8


def test_what_a_bank_of_synsets_knows(bank: ConceptBank, taxonomy: Taxonomy) -> None:
    assert len(bank) == len(taxonomy)
    assert (bank.names, bank.texts) == (taxonomy.names, taxonomy.definitions)
    carnivores = [bank.names[i] for i in bank.subtree("carnivore.n.01")]
    assert set(carnivores) > {"carnivore.n.01", "dog.n.01", "cat.n.01", "ice_bear.n.01"}
    assert {bank.names[i] for i in bank.leaves("carnivore.n.01")} == {"dog.n.01", "cat.n.01", "ice_bear.n.01"}
    assert bank.leaves("dog.n.01").tolist() == [bank.index("n02084071")]
    assert bank.resolve("polar bears").index == bank.index("ice_bear.n.01")
    assert bank.resolve("wolf.n.01").index is None
    assert bank.resolve("a red ball") == ConceptBank(rows(1), phrases=["x"]).resolve("a red ball")
    with pytest.raises(ConceptError) as caught:
        bank.index("wolf.n.01")
    assert caught.value.suggestions[0] == "canine.n.02"


def test_what_a_bank_of_phrases_knows(phrases: ConceptBank) -> None:
    assert phrases.taxonomy is None
    assert phrases.names == phrases.texts == ("a red ball", "A blue ball", "größe")
    for text in ("A blue ball", "a BLUE ball", " a blue ball "):
        assert phrases.index(text) == 1
        assert (phrases.resolve(text).kind, phrases.resolve(text).index) == ("phrase", 1)
    assert phrases.subtree("größe").tolist() == phrases.leaves("größe").tolist() == [2]
    assert phrases.resolve("dog.n.01").index is None
    with pytest.raises(ConceptError) as caught:
        phrases.index("a red bell")
    assert caught.value.suggestions == ("a red ball",)
    with pytest.raises(ConceptError):
        phrases.resolve(" ")


def test_case_matters_where_it_distinguishes() -> None:
    bank = ConceptBank(rows(2), phrases=["Turkey", "turkey"])
    assert [bank.index(text) for text in ("Turkey", "turkey", "TURKEY")] == [0, 1, 1]


def test_a_subset_keeps_rows_and_names_together(bank: ConceptBank, phrases: ConceptBank) -> None:
    ids = bank.subtree("carnivore.n.01")
    part = bank.subset(ids)
    assert part.names == tuple(bank.names[i] for i in ids)
    assert np.abs(part.embeddings - bank.embeddings[ids]).max() < 1e-7
    assert len(part.subtree("carnivore.n.01")) == len(part)
    assert phrases.subset([0, 2]).names == ("a red ball", "größe")
    assert len(phrases.subset([])) == 0
    for bad in ([1, 0], [1, 1], [-1], [99], [0.5]):
        with pytest.raises(InputError):
            phrases.subset(bad)


@pytest.mark.parametrize(
    ("embeddings", "names"),
    [
        (rows(2), ["a"]),
        (rows(1), ["a", "b"]),
        (rows(2), ["a", "a"]),
        (rows(2), ["a", " "]),
        (rows(2), ["a", "b\nc"]),
        (rows(2)[0], ["a"]),
        (rows(2)[None], ["a"]),
        (np.ones((2, 2), np.int64), ["a", "b"]),
        (np.zeros((2, 2)), ["a", "b"]),
        (np.array([[1.0, np.nan], [1, 0]]), ["a", "b"]),
        (np.array([[1.0, 0], [np.inf, 0]]), ["a", "b"]),
        (np.ones((2, 0)), ["a", "b"]),
        (np.array(1.0), []),
        ([["x"]], ["a"]),
    ],
)
def test_banks_of_nonsense_are_refused(embeddings: object, names: list[str]) -> None:
    with pytest.raises(InputError):
        ConceptBank(embeddings, phrases=names)


def test_a_bad_row_is_named(bank: ConceptBank, taxonomy: Taxonomy) -> None:
    embeddings = rows(len(taxonomy))
    embeddings[taxonomy.index("cat.n.01")] = 0
    with pytest.raises(InputError, match=r"cat\.n\.01"):
        ConceptBank(embeddings, taxonomy=taxonomy)
    with pytest.raises(InputError, match="exactly one"):
        ConceptBank(embeddings)
    with pytest.raises(InputError, match="exactly one"):
        ConceptBank(embeddings, taxonomy=taxonomy, phrases=["a"])
    with pytest.raises(InputError, match="synsets"):
        ConceptBank(embeddings[1:], taxonomy=taxonomy)


@pytest.mark.parametrize("half", [False, True])
def test_banks_come_back_from_files(bank: ConceptBank, phrases: ConceptBank, tmp_path: Path, half: bool) -> None:
    for name, saved in (("synsets", bank), ("phrases", phrases)):
        saved.save(tmp_path / name, half=half)
        loaded = ConceptBank.load(tmp_path / name)
        assert (loaded.names, loaded.texts) == (saved.names, saved.texts)
        assert np.abs(loaded.embeddings - saved.embeddings).max() < (5e-4 if half else 1e-7)
        first = (tmp_path / name).read_bytes()
        saved.save(tmp_path / name, half=half)
        assert (tmp_path / name).read_bytes() == first
    assert (
        ConceptBank.load(tmp_path / "synsets").subtree("carnivore.n.01").tolist()
        == bank.subtree("carnivore.n.01").tolist()
    )


def put(name: str, value: Callable[[np.ndarray], np.ndarray]) -> Change:
    def change(tensors: dict[str, np.ndarray], _: dict[str, str]) -> None:
        tensors[name] = np.ascontiguousarray(value(tensors[name]))

    return change


def tell(**metadata: str) -> Change:
    return lambda _, file_metadata: file_metadata.update(metadata)


DAMAGE: dict[str, Change] = {
    "an unknown offset": put("offsets", lambda offsets: offsets + 1),
    "a huge offset": put("offsets", lambda offsets: offsets + 2**40),
    "offsets that fall": put("offsets", lambda offsets: offsets[::-1]),
    "an offset twice": put("offsets", lambda offsets: np.repeat(offsets[:1], len(offsets))),
    "too few offsets": put("offsets", lambda offsets: offsets[1:]),
    "offsets of another type": put("offsets", lambda offsets: offsets.astype(np.int32)),
    "NaN": put("embeddings", lambda rows: rows * np.float32(np.nan)),
    "zeros": put("embeddings", lambda rows: rows * 0),
    "one dimension": put("embeddings", lambda rows: rows[0]),
    "no dimension": put("embeddings", lambda rows: rows[:, :0]),
    "double precision": put("embeddings", lambda rows: rows.astype(np.float64)),
    "integers": put("embeddings", lambda rows: rows.astype(np.int8)),
    "another kind": tell(kind="pictures"),
    "another WordNet": tell(wordnet="3.1"),
    "phrases without names": tell(kind="phrases"),
    "no embeddings": lambda tensors, _: tensors.__delitem__("embeddings"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_a_bundle_error_that_names_the_file(bank: ConceptBank, tmp_path: Path, damage: str) -> None:
    path = tmp_path / "bank.safetensors"
    bank.save(path)
    tensors, metadata = load_file(path), dict(SYNSETS)
    DAMAGE[damage](tensors, metadata)
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(BundleError, match="bank"):
        ConceptBank.load(path)


@pytest.mark.parametrize("names", [b"a\nb", b"a\nb\nc\nd", b"a\n\nc", b"a\na\nc", b"a\n\xff\nc", b"", b"a\r\nb\nc"])
def test_damaged_phrases_are_bundle_errors(tmp_path: Path, names: bytes) -> None:
    path = tmp_path / "bank.safetensors"
    tensors = {"embeddings": rows(3), "names": np.frombuffer(names, np.uint8)}
    save_file(tensors, path, metadata={"kind": "phrases"})
    with pytest.raises(BundleError, match="bank"):
        ConceptBank.load(path)


def test_a_missing_bank_is_a_bundle_error(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nothing"):
        ConceptBank.load(tmp_path / "nothing")
