"""What people hand to the public functions: many kinds of arrays, numbers and labels; the rest is refused."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastconcept as fc
from fastconcept.concepts.taxonomy import Taxonomy
from fastconcept.datasets.dataset import open_dataset
from fastconcept.encoders.tokenizer import CLEANERS
from fastconcept.errors import ConceptError, FastconceptError, InputError
from fastconcept.evaluate.localize import localize
from fastconcept.evaluate.retrieval import retrieval
from fastconcept.jobs.batch import batch
from fastconcept.jobs.tasks import Embed
from fastconcept.serve.limits import Limits

WORDS = ["cat", "dog", "Dog", "car", "sea", "tree"]
COARSE = {"sizes": 64, "stride": 64}


class Frame:
    """Arrays as pandas and others hand them over."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return self.rows.astype(dtype or self.rows.dtype)


class Texts:
    def encode(self, texts: list[str]) -> np.ndarray:
        return np.stack([np.eye(8, dtype=np.float32)[len(text) % 8] for text in texts])


@pytest.fixture(scope="module")
def engine() -> fc.Engine:
    rows = np.eye(6, 8)
    rows[2] = rows[1]  # "Dog" has the tokens of "dog"
    return fc.Engine.from_parts(
        embedding_dim=8,
        preprocess=fc.Preprocess((4, 4), (0.0,) * 3, (1.0,) * 3),
        image_encoder=lambda pixels: np.repeat(pixels.mean(axis=(2, 3)), 3, axis=1)[:, :8] + 0.1,
        text_encoder=Texts(),
        bank=fc.ConceptBank(np.eye(3, 8), phrases=["red", "green", "blue"]),
        dictionary=fc.Dictionary(WORDS, rows, np.zeros(8)),
        image_mean=np.zeros(8),
    )


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)


STRANGE: list[Any] = [
    None,
    3,
    -1,
    2.5,
    True,
    "",
    "x",
    b"x",
    [],
    [None],
    [[1], [2, 3]],
    {},
    {1: 2},
    object(),
    1j,
    slice(1),
]
STRANGE += [
    10**400,
    10**5000,
    np.array("a"),
    np.array([np.nan]),
    np.zeros((2, 2, 2, 2, 2)),
    abs,
    range(0),
    "\u200b",
    ["a", 1],
    float("inf"),
]

CHOICES = ["mode", "fit", "border", "sizes", "stride", "short_side", "seed", "score", "aggregate", "scale_weights"]
CALLS: dict[str, Callable[[fc.Engine, np.ndarray, Any], object]] = {
    **{
        f"explain {name}": lambda engine, picture, value, name=name: engine.explain(
            picture, "red", **{**COARSE, name: value}
        )
        for name in [
            "mode",
            "fit",
            "border",
            "sizes",
            "stride",
            "short_side",
            "seed",
            "score",
            "aggregate",
            "scale_weights",
        ]
    },
    "explain image": lambda engine, picture, value: engine.explain(value, "red", **COARSE),
    "explain concepts": lambda engine, picture, value: engine.explain(picture, value, **COARSE),
    "read": lambda engine, picture, value: engine.read(value, "red"),
    "concepts image": lambda engine, picture, value: engine.concepts(value, **COARSE),
    "concepts top": lambda engine, picture, value: engine.concepts(picture, value, **COARSE),
    "concepts below": lambda engine, picture, value: engine.concepts(picture, below=value, **COARSE),
    "decompose images": lambda engine, picture, value: engine.decompose(value),
    "decompose embeddings": lambda engine, picture, value: engine.decompose(embeddings=value),
    "decompose texts": lambda engine, picture, value: engine.decompose(texts=value),
    "decompose l1": lambda engine, picture, value: engine.decompose(embeddings=np.ones(8), l1_penalty=value),
    "decompose l0": lambda engine, picture, value: engine.decompose(embeddings=np.ones(8), l0=value),
    "recompose": lambda engine, picture, value: engine.recompose(value),
    "recompose weight": lambda engine, picture, value: engine.recompose({"dog": value}),
    "recompose kind": lambda engine, picture, value: engine.recompose({"dog": 1}, kind=value),
    "average images": lambda engine, picture, value: engine.average(value),
    "average labels": lambda engine, picture, value: engine.average([picture], value),
    "average label": lambda engine, picture, value: engine.average([picture], [value]),
    "average progress": lambda engine, picture, value: engine.average([picture], progress=value),
    "encode_image": lambda engine, picture, value: engine.encode_image(value),
    "encode_text": lambda engine, picture, value: engine.encode_text(value),
    "warmup images": lambda engine, picture, value: engine.warmup(value, **COARSE),
    "warmup batch": lambda engine, picture, value: engine.warmup([(8, 8)], batch=value, **COARSE),
    "load": lambda engine, picture, value: fc.load(value, device="cpu"),
    "load device": lambda engine, picture, value: fc.load(device=value),
    "load providers": lambda engine, picture, value: fc.load(providers=value),
    "load encoder": lambda engine, picture, value: fc.load(encoder=value),
    "load threads": lambda engine, picture, value: fc.load(num_threads=value),
    "load pixels": lambda engine, picture, value: fc.load(max_pixels=value),
    "bank": lambda engine, picture, value: fc.ConceptBank(value, phrases=["a"]),
    "bank phrases": lambda engine, picture, value: fc.ConceptBank(np.eye(1), phrases=value),
    "bank index": lambda engine, picture, value: engine.bank.index(value),
    "bank subtree": lambda engine, picture, value: engine.bank.subtree(value),
    "dictionary": lambda engine, picture, value: fc.Dictionary(["a"], value, np.zeros(2)),
    "dictionary words": lambda engine, picture, value: fc.Dictionary(value, np.eye(1), np.zeros(1)),
    "dictionary mean": lambda engine, picture, value: fc.Dictionary(["a"], np.eye(1), value),
    "dictionary index": lambda engine, picture, value: engine.dictionary.index(value),
    "from_parts mean": lambda engine, picture, value: (
        fc.Engine.from_parts(embedding_dim=8, image_mean=value).image_mean
    ),
    "from_parts dim": lambda engine, picture, value: fc.Engine.from_parts(embedding_dim=value),
    "from_parts bank": lambda engine, picture, value: fc.Engine.from_parts(embedding_dim=8, bank=value).bank,
    "box": lambda engine, picture, value: engine.explain(picture, "red", **COARSE)[0].box(value),
    "explanation item": lambda engine, picture, value: engine.explain(picture, "red", **COARSE)[value],
    "concepts item": lambda engine, picture, value: engine.concepts(picture, **COARSE)[value],
    "batch item": lambda engine, picture, value: engine.decompose(embeddings=np.ones((1, 8)))[value],
    "top": lambda engine, picture, value: engine.decompose(embeddings=np.ones(8)).top(value),
    "without": lambda engine, picture, value: engine.decompose(embeddings=np.ones(8)).without(value),
    "concepts place": lambda engine, picture, value: engine.concepts(picture, place=value, **COARSE),
    "evidence": lambda engine, picture, value: engine.evidence(value, **COARSE),
    "preprocess": lambda engine, picture, value: engine.preprocess(value),
    "preprocess out": lambda engine, picture, value: engine.preprocess([picture], out=value),
    "stream": lambda engine, picture, value: engine.stream(value, "red").close(),
    "stream every": lambda engine, picture, value: engine.stream([picture], "red", every=value).close(),
    "resized": lambda engine, picture, value: engine.explain(picture, "red", **COARSE)[0].resized(value),
    "rows_of": lambda engine, picture, value: engine.dictionary.rows_of(value),
    "spellings": lambda engine, picture, value: fc.Dictionary(["a", "b"], np.eye(2), np.zeros(2), value),
    "from_parts device": lambda engine, picture, value: fc.Engine.from_parts(embedding_dim=8, device=value),
    "lemmas": lambda engine, picture, value: Taxonomy.builtin().lemmas(value),
    "find": lambda engine, picture, value: Taxonomy.builtin().find(value),
    "overlay box": lambda engine, picture, value: engine.explain(picture, "red", **COARSE)[0].overlay(box=value),
    "from_parts preprocess": lambda engine, picture, value: fc.Engine.from_parts(embedding_dim=8, preprocess=value),
    "mode": lambda engine, picture, value: engine.parts.resolve_mode(value),
    **{
        f"preprocess {name}": lambda engine, picture, value, name=name: fc.Preprocess(
            **{"size": (4, 4), "mean": (0,) * 3, "std": (1,) * 3, name: value}
        )
        for name in ("size", "mean", "std", "interpolation", "resize_mode", "fill_color", "patch_size")
    },
    "search limit": lambda engine, picture, value: Taxonomy.builtin().search("dog", value),
    "open_dataset": lambda engine, picture, value: open_dataset(value),
    "open_dataset masks": lambda engine, picture, value: open_dataset("nowhere", masks=value),
    "limits": lambda engine, picture, value: Limits(max_body=value),
    "batch task": lambda engine, picture, value: batch(value, "nowhere", "/dev/null/x"),
    "batch source": lambda engine, picture, value: batch(Embed(), value, "/dev/null/x", engine=lambda: engine),
    "batch where": lambda engine, picture, value: batch(
        Embed(), "nowhere", "/dev/null/x", engine=lambda: engine, where=value
    ),
    "localize dataset": lambda engine, picture, value: localize(engine, value),
    "localize engine": lambda engine, picture, value: localize(value, None),  # type: ignore[arg-type]
    "retrieval repeats": lambda engine, picture, value: retrieval(engine, None, repeats=value),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("call", CALLS)
def test_a_wrong_type_is_an_error_of_ours(engine: fc.Engine, picture: np.ndarray, call: str) -> None:
    for value in STRANGE:
        try:
            CALLS[call](engine, picture, value)
        except FastconceptError as error:
            assert str(error)
        except IndexError:
            assert "item" in call and isinstance(value, int)


def test_embeddings_of_other_kinds(engine: fc.Engine) -> None:
    rows = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    expected = engine.decompose(embeddings=rows, l1_penalty=0.3).codes.values
    wide = np.zeros((3, 16), np.float32)
    wide[:, ::2] = rows
    same: list[Any] = [wide[:, ::2], np.asfortranarray(rows), rows.tolist(), rows.astype(">f4"), rows.astype(float)]
    torch = pytest.importorskip("torch")
    same += [torch.from_numpy(rows), torch.from_numpy(rows).requires_grad_(), torch.from_numpy(np.asfortranarray(rows))]
    same.append(Frame(rows))
    for embeddings in same:
        np.testing.assert_array_equal(engine.decompose(embeddings=embeddings, l1_penalty=0.3).codes.values, expected)
    half = engine.decompose(embeddings=torch.from_numpy(rows).bfloat16(), l1_penalty=0.3)
    np.testing.assert_allclose(half.codes.values, expected, atol=0.02)


def test_labels_group_by_value(engine: fc.Engine, picture: np.ndarray) -> None:
    images = [picture, picture, picture]
    torch = pytest.importorskip("torch")
    for labels in (np.array([1, 2, 1]), torch.tensor([1, 2, 1]), iter([1, 2, 1]), [np.int8(1), 2, torch.tensor(1)]):
        averages = engine.average(images, labels)
        assert list(averages) == [1, 2] and averages[1].count == 2
    assert averages[1].timings_ms.keys() == {"encode", "solve"}
    assert engine.average(picture)["all"].count == 1
    refused: list[tuple[Any, str]] = [([1, 2], "fewer labels.*2 for at least 3"), ([1] * 4, "more labels")]
    refused += [(torch.eye(3), "one per image"), ({1, 2, 3}, "one per image"), ([1, float("nan"), 1], "NaN")]
    refused += [([[1], [2], [3]], "hashable"), ([torch.tensor([1])] * 3, "hashable")]
    refused += [([torch.empty((), device="meta")] * 3, "hashable")]
    for labels, reason in refused:
        with pytest.raises(InputError, match=reason):
            engine.average(images, labels)


def test_tiny_penalties_end_and_say_so(engine: fc.Engine) -> None:
    rows = np.abs(np.random.default_rng(0).standard_normal((2, 8)))
    codes = engine.decompose(embeddings=rows, l1_penalty=1e-12)
    assert "raised to" in codes[0].note and codes[0].l1_penalty > 1e-6 and codes[0].gap <= 1e-6
    assert "note" in codes[0].to_dict() and codes[1:].notes == codes.notes[1:]
    usual = engine.decompose(embeddings=rows, l1_penalty=0.25)
    assert not usual.notes and not usual[0].note and usual.timings_ms.keys() == {"encode", "solve"}
    real = fc.load()
    began = time.process_time()
    assert "raised" in real.decompose(embeddings=real.encode_text("dog"), l1_penalty=1e-9)[0].note
    assert time.process_time() - began < 30  # of processor time: a busy machine takes longer


def test_words_that_are_one_to_the_model_go_together(engine: fc.Engine) -> None:
    code = engine.decompose(embeddings=np.eye(8)[1] + np.eye(8)[0], l1_penalty=0.1)
    for word in ("dog", "Dog"):
        assert [name for name, _ in code.without(word).top()] == ["cat"]


def test_huge_weights_do_not_overflow(engine: fc.Engine) -> None:
    np.testing.assert_allclose(
        engine.recompose({"cat": 3e300, "car": 4e300}), engine.recompose({"cat": 3, "car": 4}), atol=1e-7
    )


def test_texts_that_are_too_long_or_invisible() -> None:
    engine = fc.load()
    long = "a dog on a beach " * 50
    assert "first 77 tokens" in engine.decompose(texts=long).note
    assert "first 77 tokens" in engine.decompose(texts=["a dog", long])[1].note
    assert not engine.decompose(texts="a dog").note
    picture = np.zeros((64, 64, 3), np.uint8)
    seen = engine.explain(picture, [long, "a dog that sits"], sizes=128, stride=64)
    assert "tokens" in seen[0].note and "tokens" not in seen[1].note
    for invisible in ("", " \n", "\u200b\u2060"):
        with pytest.raises(InputError, match="prints"):
            engine.decompose(texts=invisible)
        with pytest.raises(ConceptError, match="prints"):
            engine.explain(picture, ["dog", invisible])


def test_nested_entities_take_no_time() -> None:
    import ftfy

    began = time.perf_counter()
    assert CLEANERS["lower"]("&" + "amp;" * 20_000 + " a &#38;#38;amp; b") == "& a & b"
    assert time.perf_counter() - began < 5
    for text in ("&amp;amp;amp;lt;", "<b>&amp;amp;amp;amp;", "AT&amp;T", "&AMP;amp; &amp;#38;"):
        import html

        assert CLEANERS["none"](text) == text
        assert CLEANERS["whitespace"](text) == html.unescape(html.unescape(ftfy.fix_text(text))).strip()


def test_lookups(engine: fc.Engine, picture: np.ndarray) -> None:
    seen = engine.explain(picture, ["red", "green", "blue"], **COARSE)
    assert seen[np.int64(1)] is seen[1] and [one.concept for one in seen[1:]] == ["green", "blue"]
    codes = engine.decompose(embeddings=np.eye(8)[:3])
    assert codes[np.int64(1)].top() == codes[1].top() and len(codes[::2]) == 2
    assert engine.concepts(picture, **COARSE)[np.int8(0)].name in ("red", "green", "blue")
    wordnet = Taxonomy.builtin()
    for text in ("mice", "n02084071", "dog.n.01", "ice-cream", "polar-bear", "Polar  Bears", "x-ray"):
        meaning = wordnet.resolve(text)
        assert meaning.index is not None and wordnet.search(text, limit=3)[0] == meaning.index, text


def test_an_unknown_concept_costs_nothing(engine: fc.Engine) -> None:
    with pytest.raises(ConceptError, match="not one"):
        engine.concepts("no such file.png", below="purple")
