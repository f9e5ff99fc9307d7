"""Files of taxonomies: what is written comes back, and damage of any kind is a BundleError."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file

from fastconcept.concepts.storage import MAX_TEXT_BYTES, PackedLines, read_tensors, write_tensors
from fastconcept.concepts.taxonomy import Taxonomy
from fastconcept.errors import BundleError, InputError

Content = tuple[dict[str, np.ndarray], dict[str, str]]


@pytest.fixture(scope="module")
def small() -> Taxonomy:
    wordnet = Taxonomy.builtin()
    einstein = wordnet.index("einstein.n.01")
    return wordnet.induced(sorted({einstein, *wordnet.closure([wordnet.index("dog.n.01")]).tolist()}))


@pytest.fixture(scope="module")
def saved(small: Taxonomy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("taxonomy") / "small.safetensors"
    small.save(path)
    return path


def everything(taxonomy: Taxonomy) -> list[object]:
    rows = range(len(taxonomy))
    return [
        taxonomy.names,
        taxonomy.definitions,
        taxonomy.offsets.tolist(),
        taxonomy.version,
        [taxonomy.lemmas(i) for i in rows],
        [taxonomy.parents(i).tolist() for i in rows],
        [taxonomy.instance_parents(i).tolist() for i in rows],
        taxonomy.senses("mice"),
        taxonomy.resolve("dog"),
    ]


def test_a_saved_part_comes_back_as_a_taxonomy_of_its_own(small: Taxonomy, saved: Path, tmp_path: Path) -> None:
    again = Taxonomy.load(saved)
    assert everything(again)[:-1] == everything(small)[:-1]
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["again.safetensors"]


def test_the_shipped_file_is_small_and_keeps_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "whole.safetensors"
    Taxonomy.builtin().save(path)
    assert path.stat().st_size < 6_000_000
    Taxonomy.load(path).save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def content(path: Path) -> Content:
    with safe_open(path, framework="numpy") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


def tensor(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Content], None]:
    def apply(parts: Content) -> None:
        parts[0][name] = np.ascontiguousarray(change(parts[0][name]))

    return apply


def entry(name: str, value: str) -> Callable[[Content], None]:
    def apply(parts: Content) -> None:
        parts[1][name] = value

    return apply


def cycle(hypernyms: np.ndarray) -> np.ndarray:
    hypernyms[0] = len(hypernyms) - 1
    return hypernyms


def at(index: int, value: int) -> Callable[[np.ndarray], np.ndarray]:
    def apply(array: np.ndarray) -> np.ndarray:
        array[index] = value
        return array

    return apply


DAMAGE = {
    "a target out of range": tensor("hypernyms", at(3, 1000)),
    "a negative target": tensor("hypernyms", at(3, -1)),
    "no targets": tensor("hypernyms", lambda _: np.zeros(0, np.int32)),
    "a cycle": tensor("hypernyms", cycle),
    "too many counts": tensor("hypernym_counts", lambda counts: np.append(counts, np.uint8(0))),
    "counts that do not add up": tensor("hypernym_counts", at(0, 9)),
    "instance counts that do not add up": tensor("instance_counts", at(0, 1)),
    "counts of another type": tensor("hypernym_counts", lambda counts: counts.astype(np.int64)),
    "targets in a table": tensor("hypernyms", lambda targets: targets[:, None]),
    "offsets that fall": tensor("offsets", lambda offsets: offsets[::-1]),
    "negative offsets": tensor("offsets", at(0, -5)),
    "offsets of another type": tensor("offsets", lambda offsets: offsets.astype(np.float32)),
    "no offsets": tensor("offsets", lambda offsets: offsets[:0]),
    "sense zero": tensor("senses", at(0, 0)),
    "senses of another type": tensor("senses", lambda senses: senses.astype(np.int16)),
    "one sense less": tensor("senses", lambda senses: senses[1:]),
    "truncated text": tensor("lemmas", lambda text: text[:-9]),
    "text that is not packed": tensor("definitions", lambda text: np.zeros_like(text)),
    "text of another type": tensor("definitions", lambda text: text.astype(np.int32)),
    "text twice": tensor("definitions", lambda text: np.concatenate((text, text))),
    "another text": tensor("lemmas", lambda _: np.frombuffer(zlib.compress(b"a\nb"), np.uint8)),
    "text that is not UTF-8": tensor("plurals", lambda _: np.frombuffer(zlib.compress(b"\xff" * 100), np.uint8)),
    "a length without end": entry("definitions_bytes", "9" * 40),
    "a length beyond all bounds": entry("definitions_bytes", str(MAX_TEXT_BYTES + 1)),
    "a length too short": entry("definitions_bytes", "10"),
    "a length too long": entry("definitions_bytes", "60000000"),
    "a negative length": entry("lemmas_bytes", "-1"),
    "a length that is no number": entry("lemmas_bytes", "ten"),
    "a length in other digits": entry("lemmas_bytes", "²"),
    "too many plurals": entry("plurals", "7"),
    "another kind": entry("kind", "phrases"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_a_bundle_error_that_names_the_file(saved: Path, tmp_path: Path, damage: str) -> None:
    parts = content(saved)
    DAMAGE[damage](parts)
    path = tmp_path / "damaged.safetensors"
    save_file(*parts[:1], path, metadata=parts[1])
    with pytest.raises(BundleError, match="damaged"):
        everything(Taxonomy.load(path))


@pytest.mark.parametrize(
    "name", ["offsets", "lemmas", "senses", "definitions", "plurals", "hypernym_counts", "instances"]
)
def test_a_missing_tensor_is_named(saved: Path, tmp_path: Path, name: str) -> None:
    tensors, metadata = content(saved)
    del tensors[name]
    save_file(tensors, tmp_path / "poor.safetensors", metadata=metadata)
    with pytest.raises(BundleError, match=name):
        Taxonomy.load(tmp_path / "poor.safetensors")


def test_files_that_are_no_safetensors(saved: Path, tmp_path: Path) -> None:
    blob = saved.read_bytes()
    header = {"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}
    text = json.dumps(header).encode()
    for bad in (
        b"",
        b"x" * 100,
        b"\xff" * 100,
        blob[:-1],
        blob[:100],
        blob + b"x",
        len(text).to_bytes(8, "little") + text + b"ab",
    ):
        path = tmp_path / "bad.safetensors"
        path.write_bytes(bad)
        with pytest.raises(BundleError, match="bad"):
            Taxonomy.load(path)
    for nothing in (tmp_path, tmp_path / "nothing.safetensors"):
        with pytest.raises(BundleError, match=str(nothing)):
            Taxonomy.load(nothing)


@given(st.data())
def test_any_flipped_byte_is_noticed_or_harmless(
    saved: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    blob = bytearray(saved.read_bytes())
    place = data.draw(st.integers(0, len(blob) - 1))
    blob[place] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    path.write_bytes(blob)
    with suppress(BundleError):
        everything(Taxonomy.load(path))


def test_a_bomb_is_not_unpacked() -> None:
    bomb = np.frombuffer(zlib.compress(b"\0" * MAX_TEXT_BYTES * 2), np.uint8)
    with pytest.raises(BundleError, match="promised"):
        PackedLines(bomb, 100, 1, "bomb").lines  # noqa: B018


@pytest.mark.parametrize("lines", [[""], ["a\nb"], ["a\rb"], ["\ud800"]])
def test_lines_that_cannot_be_stored_are_refused(lines: list[str]) -> None:
    with pytest.raises(InputError):
        PackedLines.pack(lines, "words")


@given(
    st.lists(
        st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), min_size=1, max_size=9), max_size=9
    )
)
def test_lines_come_back(lines: list[str]) -> None:
    packed = PackedLines.pack(lines, "words")
    assert PackedLines(packed.data, packed.size, packed.count, "words").lines == lines


def test_writing_is_repeatable_and_replaces_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    metadata = dict.fromkeys("zyxwvut", "x")
    tensors = {"ü": np.arange(3), "a": np.ones((2, 2), np.float16)}
    blobs = set()
    for _ in range(5):
        write_tensors(path, tensors, metadata)
        blobs.add(path.read_bytes())
    assert len(blobs) == 1
    back, read_back = read_tensors(path, ["ü"])
    assert read_back == metadata
    assert all(np.array_equal(back[name], tensors[name]) for name in tensors)
    with pytest.raises(InputError, match="cannot write"):
        write_tensors(tmp_path / "nowhere" / "a.safetensors", tensors, metadata)
    assert list(tmp_path.iterdir()) == [path]
