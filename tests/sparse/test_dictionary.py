"""The dictionary of sparse decompositions."""

from __future__ import annotations

import copy
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from fastconcept.errors import BundleError, ConceptError, InputError
from fastconcept.kernels import cpu
from fastconcept.sparse.decompose import decompose
from fastconcept.sparse.dictionary import Dictionary

WORDS = ["kitten", "Kitten", "dog leash", "größe", "two-tone"]


def vectors(count: int, dim: int = 6) -> np.ndarray:
    return np.random.default_rng(dim).normal(size=(count, dim)) + 1


@pytest.fixture
def dictionary() -> Dictionary:
    return Dictionary.from_embeddings(WORDS, vectors(len(WORDS)))


@given(st.integers(2, 30), st.integers(2, 12), st.sampled_from([np.float16, np.float32, np.float64]))
def test_rows_are_centred_on_the_mean_of_the_unit_vectors(count: int, dim: int, dtype: type) -> None:
    rows = vectors(count, dim).astype(dtype)
    dictionary = Dictionary.from_embeddings([f"w{i}" for i in range(count)], rows)
    unit = rows.astype(np.float64) / np.linalg.norm(rows.astype(np.float64), axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    far = lengths[:, 0] > 1e-2  # nearer ones magnify the rounding to float32
    assert np.abs(dictionary.embeddings - centred / lengths)[far].max(initial=0) < 2e-5
    assert np.abs(dictionary.mean - unit.mean(axis=0)).max() < 1e-6
    assert dictionary.embeddings.dtype == dictionary.mean.dtype == np.float32
    assert dictionary.embeddings.flags.c_contiguous


def test_words_that_are_all_alike_have_no_direction() -> None:
    with pytest.raises(InputError, match="all alike: 'twin'"):
        Dictionary.from_embeddings(["twin", "other"], np.ones((2, 4)) * [[1], [3]])
    with pytest.raises(InputError, match="'only'"):
        Dictionary.from_embeddings(["only"], np.ones((1, 4)))


def test_words_are_found_as_they_are_written(dictionary: Dictionary) -> None:
    assert len(dictionary) == 5
    assert dictionary.words == tuple(WORDS)
    assert [dictionary.index(word) for word in WORDS] == [0, 1, 2, 3, 4]
    with pytest.raises(ConceptError) as caught:
        dictionary.index("kiten")
    assert caught.value.suggestions == ("kitten", "Kitten")
    with pytest.raises(ConceptError):
        dictionary.index("")
    assert dictionary.rows_of(["größe", "kitten"]).tolist() == [3, 0]
    assert dictionary.rows_of([]).dtype == np.int32
    with pytest.raises(ConceptError, match="'kiten'"):
        dictionary.rows_of(["kitten", "kiten"])


@pytest.mark.parametrize("words", [["a"], ["a", "a"], ["a", ""], ["a", "b\n"]])
def test_bad_words_are_refused(words: list[str]) -> None:
    with pytest.raises(InputError):
        Dictionary.from_embeddings(words, vectors(2))


def test_a_repeated_word_is_refused_by_name(tmp_path: Path) -> None:
    """One rule everywhere: when made, when centred, and when read."""
    words, rows = ["dog", "a red ball", "dog"], vectors(3)
    with pytest.raises(InputError, match="'dog' occurs twice"):
        Dictionary(words, rows, np.zeros(6))
    with pytest.raises(InputError, match="'dog' occurs twice"):
        Dictionary.from_embeddings(words, rows)
    path = tmp_path / "words.safetensors"
    Dictionary(["dog", "a red ball", "cat"], rows, np.zeros(6)).save(path)
    lines = np.frombuffer("\n".join(words).encode(), np.uint8)
    save_file(load_file(path) | {"words": lines}, path, metadata={"kind": "dictionary"})
    with pytest.raises(BundleError, match=r"words\.safetensors: .*'dog' occurs twice"):
        Dictionary.load(path)


def test_a_word_needs_a_row() -> None:
    with pytest.raises(InputError, match="3 words but 2"):
        Dictionary(["a", "b", "c"], np.eye(2), np.zeros(2))


def test_rows_are_scaled_to_unit_length() -> None:
    dictionary = Dictionary(["a", "b"], 2 * np.eye(2), np.zeros(2))
    assert np.array_equal(dictionary.embeddings, np.eye(2, dtype=np.float32))
    assert not dictionary.embeddings.flags.writeable


class SlowKernels(ModuleType):
    """A backend that counts its preparations and takes long enough over each that threads meet."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.device, self.count = "first", 0

    def place(self) -> str:
        return self.device

    def prepare_dictionary(self, rows: np.ndarray) -> object:
        self.count += 1
        time.sleep(0.05)
        return object()


def test_threads_that_ask_at_once_share_one_preparation(dictionary: Dictionary) -> None:
    kernels, barrier = SlowKernels("slow"), threading.Barrier(4)

    def ask(_: int) -> object:
        barrier.wait()
        return dictionary.prepared(kernels)

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(ask, range(4)))
    assert kernels.count == 1
    assert all(answer is answers[0] for answer in answers)


def test_one_preparation_for_each_backend_and_device(dictionary: Dictionary) -> None:
    kernels, other = SlowKernels("slow"), SlowKernels("other")
    first = dictionary.prepared(kernels)
    assert dictionary.prepared(kernels) is first
    assert dictionary.prepared(other) is not first
    kernels.device = "second"
    assert dictionary.prepared(kernels) is not first
    kernels.device = "first"
    assert dictionary.prepared(kernels) is first
    assert (kernels.count, other.count) == (2, 1)
    assert dictionary.prepared(cpu) is dictionary.prepared(cpu)


@pytest.mark.parametrize("mean", [np.zeros(5), np.zeros((1, 6)), np.full(6, np.nan)])
def test_a_bad_mean_is_refused(mean: np.ndarray) -> None:
    with pytest.raises(InputError):
        Dictionary(["a", "b"], vectors(2), mean)


@pytest.mark.parametrize("half", [False, True])
def test_a_dictionary_comes_back_from_its_file(dictionary: Dictionary, tmp_path: Path, half: bool) -> None:
    path = tmp_path / "words.safetensors"
    dictionary.save(path, half=half)
    first = path.read_bytes()
    loaded = Dictionary.load(path)
    assert loaded.words == dictionary.words
    assert np.array_equal(loaded.mean, dictionary.mean)
    assert np.abs(loaded.embeddings - dictionary.embeddings).max() < (5e-4 if half else 1e-7)
    dictionary.save(path, half=half)
    assert path.read_bytes() == first


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("words", np.frombuffer(b"a\nb", np.uint8)),
        ("words", np.frombuffer(b"a\na\nb\nc\nd", np.uint8)),
        ("words", np.zeros((2, 2), np.uint8)),
        ("words", np.zeros(9, np.float32)),
        ("mean", np.zeros(5, np.float32)),
        ("mean", np.zeros(6)),
        ("mean", np.full(6, np.inf, np.float32)),
        ("embeddings", np.zeros((5, 6), np.float32)),
        ("embeddings", np.full((5, 6), np.nan, np.float32)),
        ("embeddings", np.ones(6, np.float32)),
        ("embeddings", np.ones((5, 6), np.int32)),
    ],
)
def test_damage_is_a_bundle_error_that_names_the_file(
    dictionary: Dictionary, tmp_path: Path, name: str, value: np.ndarray
) -> None:
    path = tmp_path / "words.safetensors"
    dictionary.save(path)
    save_file(load_file(path) | {name: value}, path, metadata={"kind": "dictionary"})
    with pytest.raises(BundleError, match="words"):
        Dictionary.load(path)


def test_another_kind_of_file_is_a_bundle_error(dictionary: Dictionary, tmp_path: Path) -> None:
    dictionary.save(tmp_path / "words.safetensors")
    save_file(load_file(tmp_path / "words.safetensors"), tmp_path / "other", metadata={"kind": "phrases"})
    with pytest.raises(BundleError, match="other"):
        Dictionary.load(tmp_path / "other")


def test_of_words_with_equal_rows_one_stays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = vectors(6)
    rows[3] = rows[0] = rows[5]
    words = ["Dog", "cat", "sea", "DOG", "sky", "dog"]
    assert Dictionary.from_embeddings(words, rows).words == ("Dog", "cat", "sea", "sky")
    caplog.clear()
    both = Dictionary.from_embeddings(words, rows, keep="last")
    assert both.words == ("cat", "sea", "sky", "dog")
    assert "2 words have the embedding of another and are left out: 'Dog' ('dog'), 'DOG' ('dog')" in caplog.text
    both.save(tmp_path / "words.safetensors")
    for dictionary in (both, Dictionary.load(tmp_path / "words.safetensors"), copy.deepcopy(both)):
        assert dictionary.spellings == {"Dog": "dog", "DOG": "dog"}
        assert dictionary.rows_of(["dog", "Dog", "DOG", "cat"]).tolist() == [3, 3, 3, 0]
    code = decompose(rows[5:].astype(np.float32), both, np.zeros(6, np.float32), cpu, l0=1)[0]
    assert code.without("Dog").l0 == code.l0 - 1 == 0


@pytest.mark.parametrize("spellings", [{"a": "b"}, {"x": "y"}, {"": "a"}, ["x"], {7: "a"}])
def test_spellings_of_no_word_are_refused(spellings: Any) -> None:
    with pytest.raises(InputError):
        Dictionary(["a", "b"], vectors(2), np.zeros(6), spellings)


@pytest.mark.parametrize("rows", [[5], [-1], [0, 1], [[0]], [0.0], []])
def test_damaged_spellings_are_a_bundle_error(tmp_path: Path, rows: list[Any]) -> None:
    path = tmp_path / "words.safetensors"
    Dictionary(["a", "b"], vectors(2), np.zeros(6), {"x": "b"}).save(path)
    damaged = np.array(rows, np.int32 if rows != [0.0] else np.float32)
    save_file(load_file(path) | {"spelling_rows": damaged}, path, metadata={"kind": "dictionary"})
    with pytest.raises(BundleError, match=r"words\.safetensors: .*spelling"):
        Dictionary.load(path)


def test_equal_rows_count_in_the_mean_as_often_as_they_are_listed() -> None:
    """As in the paper's code, which knows nothing of equal rows: a word that is left out moves no other."""
    rows = np.random.default_rng(0).standard_normal((6, 8))
    rows[4] = rows[1]
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    dictionary = Dictionary.from_embeddings(list("abcdef"), rows)
    assert dictionary.spellings == {"e": "b"}
    np.testing.assert_allclose(dictionary.mean, unit.mean(axis=0), atol=1e-7)
