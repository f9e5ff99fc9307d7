"""SpLiCE on top of any backend: centring, words, interventions, averages, and honest errors."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastconcept.errors import ConceptError, InputError
from fastconcept.kernels import cpu, reference
from fastconcept.kernels.contract import Kernels
from fastconcept.sparse.decompose import average, decompose, recompose
from fastconcept.sparse.dictionary import Dictionary
from fastconcept.sparse.result import Decompositions

Rows = npt.NDArray[np.float32]
WORDS = [f"word{i}" for i in range(120)]


def unit_rows(rng: np.random.Generator, n: int, d: int) -> Rows:
    rows = rng.standard_normal((n, d)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def dictionary() -> Dictionary:
    return Dictionary(WORDS, unit_rows(np.random.default_rng(0), 120, 24), np.zeros(24))


@pytest.fixture(scope="module")
def mean() -> Rows:
    return (0.3 * unit_rows(np.random.default_rng(1), 1, 24))[0]


@pytest.fixture(scope="module")
def embeddings() -> Rows:
    return unit_rows(np.random.default_rng(2), 7, 24)


@pytest.fixture(params=[reference, cpu], ids=["reference", "cpu"])
def kernels(request: pytest.FixtureRequest) -> Kernels:
    backend: Kernels = request.param
    return backend


@pytest.fixture
def batch(embeddings: Rows, dictionary: Dictionary, mean: Rows, kernels: Kernels) -> Decompositions:
    return decompose(embeddings, dictionary, mean, kernels, l1_penalty=0.2)


def norm(row: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return row / np.linalg.norm(row)


def test_every_result_follows_the_definition(
    batch: Decompositions, embeddings: Rows, dictionary: Dictionary, mean: Rows
) -> None:
    """The code solves the problem of the centred embedding, and recomposes as norm(norm(C^T w) + mu)."""
    rows = dictionary.embeddings.astype(np.float64)
    for result, embedding in zip(batch, embeddings.astype(np.float64), strict=True):
        centred = norm(embedding - mean)
        gap, kkt = reference.certificate(rows, centred, *result.weights, 0.2)
        assert gap <= 1e-5  # the solver's target is this one rounded to float32
        assert kkt <= 1e-5
        again = norm(norm(result.weights.values @ rows[result.weights.indices]) + mean)
        assert np.allclose(result.embedding, again, atol=1e-6)
        assert result.cosine == pytest.approx(float(again @ embedding), abs=1e-6)
        assert result.l0 == len(result.top()) > 0


def test_top_is_sorted_and_ties_keep_the_order_of_the_words() -> None:
    dictionary = Dictionary(["b", "a", "c"], np.eye(3), np.zeros(3))
    target = np.array([[0.6, 0.6, 0.52915026]], np.float32)
    result = decompose(target, dictionary, np.zeros(3, np.float32), reference, l1_penalty=0.1)[0]
    assert [word for word, _ in result.top()] == ["b", "a", "c"]
    assert result.top(1) == result.top()[:1]


def test_batch_equals_loop_and_slices(
    batch: Decompositions, embeddings: Rows, dictionary: Dictionary, mean: Rows, kernels: Kernels
) -> None:
    for i, result in enumerate(batch):
        alone = decompose(embeddings[i : i + 1], dictionary, mean, kernels, l1_penalty=0.2)[0]
        assert np.array_equal(alone.weights.indices, result.weights.indices)
        assert np.allclose(alone.weights.values, result.weights.values, rtol=1e-12)
        assert batch.cosine[i] == pytest.approx(result.cosine, abs=1e-9)
        assert batch.l0[i] == result.l0
    part = batch[5:1:-2]
    assert [result.top() for result in part] == [batch[5].top(), batch[3].top()]
    assert batch[-1].top() == batch[6].top()
    assert len(batch[7:]) == 0
    with pytest.raises(IndexError):
        batch[7]


def test_number_of_words(embeddings: Rows, dictionary: Dictionary, mean: Rows, kernels: Kernels) -> None:
    assert list(decompose(embeddings, dictionary, mean, kernels, l0=4).l0) == [4] * 7


def test_warm_start_keeps_the_answer(
    batch: Decompositions, embeddings: Rows, dictionary: Dictionary, mean: Rows, kernels: Kernels
) -> None:
    again = decompose(embeddings, dictionary, mean, kernels, l1_penalty=0.2, warm_start=batch.codes)
    assert np.array_equal(again.codes.indices, batch.codes.indices)
    assert np.allclose(again.codes.values, batch.codes.values, rtol=1e-9)


def test_without_takes_words_out_and_recomposes(batch: Decompositions, dictionary: Dictionary, mean: Rows) -> None:
    result = batch[0]
    (first, _), *others = result.top()
    rest = result.without(first)
    assert rest.top() == others
    assert rest.l0 == result.l0 - 1
    assert np.isnan(rest.gap)
    assert np.allclose(rest.embedding, recompose(dict(others), dictionary, mean), atol=1e-6)
    unused = next(word for word in WORDS if word not in dict(result.top()))
    assert result.without(unused).top() == result.top()
    assert result.without(*dict(result.top())).l0 == 0


def test_without_an_unknown_word_names_near_ones(batch: Decompositions) -> None:
    with pytest.raises(ConceptError, match="word11") as caught:
        batch[0].without("wrd11")
    assert "word11" in caught.value.suggestions


def test_no_words_is_a_result(dictionary: Dictionary, mean: Rows, embeddings: Rows, kernels: Kernels) -> None:
    result = decompose(embeddings, dictionary, mean, kernels, l1_penalty=5.0)[0]
    assert result.l0 == 0
    assert result.top() == []
    assert result.gap == 0
    assert np.allclose(result.embedding, norm(mean.astype(np.float64)), atol=1e-6)
    without_mean = decompose(embeddings, dictionary, np.zeros(24, np.float32), kernels, l1_penalty=5.0)[0]
    assert not without_mean.embedding.any()
    assert without_mean.cosine == 0
    assert "0 words" in result._repr_html_()


def test_embedding_at_the_mean(dictionary: Dictionary, kernels: Kernels) -> None:
    embedding = unit_rows(np.random.default_rng(3), 1, 24)
    assert decompose(embedding, dictionary, embedding[0], kernels, l1_penalty=0.1)[0].l0 == 0


def test_length_does_not_matter(
    batch: Decompositions, embeddings: Rows, dictionary: Dictionary, mean: Rows, kernels: Kernels
) -> None:
    longer = decompose((embeddings * np.float32(4)).astype(np.float32), dictionary, mean, kernels, l1_penalty=0.2)
    assert np.array_equal(longer.codes.indices, batch.codes.indices)
    assert np.allclose(longer.cosine, batch.cosine, atol=1e-6)


def test_mean_and_average_agree(
    batch: Decompositions, embeddings: Rows, dictionary: Dictionary, mean: Rows, kernels: Kernels
) -> None:
    dense = np.zeros((7, 120))
    for row, result in zip(dense, batch, strict=True):
        row[result.weights.indices] = result.weights.values
    whole = batch.average()
    assert np.allclose(whole.weights.values, dense.mean(axis=0)[whole.weights.indices])
    assert whole.l0 == pytest.approx(batch.l0.mean())

    labels = ["odd", "even", "odd", "even", "odd", "even", "odd"]
    seen: list[int] = []
    stream = ((embeddings[i : i + 3], labels[i : i + 3]) for i in range(0, 7, 3))
    classes = average(stream, dictionary, mean, kernels, l1_penalty=0.2, progress=seen.append)
    assert seen == [3, 6, 7]
    assert list(classes) == ["odd", "even"]
    for label, start in (("odd", 0), ("even", 1)):
        expected = dense[start::2].mean(axis=0)
        assert classes[label].count == len(dense[start::2])
        assert np.allclose(classes[label].weights.values, expected[classes[label].weights.indices])
        assert len(classes[label].weights.indices) == np.count_nonzero(expected)
        assert classes[label].l0 == pytest.approx(batch.l0[start::2].mean())
        assert classes[label].cosine == pytest.approx(batch.cosine[start::2].mean())


def test_average_of_nothing(dictionary: Dictionary, mean: Rows) -> None:
    assert average([], dictionary, mean, reference, l1_penalty=0.2) == {}
    empty = decompose(np.zeros((0, 24), np.float32), dictionary, mean, reference, l1_penalty=0.2)
    assert empty.average().top() == []


def test_json_and_html(batch: Decompositions) -> None:
    result = batch[0]
    document = json.loads(json.dumps(result.to_dict()))
    assert list(document) == ["l0", "cosine", "gap", "kkt", "l1_penalty", "words"]
    assert document["l0"] == result.l0
    assert document["words"] == [[word, weight] for word, weight in result.top()]
    assert json.loads(json.dumps(result.without(result.top()[0][0]).to_dict()))["gap"] is None
    assert result.top(1)[0][0] in result._repr_html_()
    hostile = Dictionary(["<b>", "y"], np.eye(2), np.zeros(2))
    page = decompose(np.eye(2, dtype=np.float32), hostile, np.zeros(2, np.float32), reference, l1_penalty=0.1)[0]
    assert "<b>" not in page._repr_html_()


def test_timings_are_shown_where_they_were_measured(batch: Decompositions) -> None:
    assert batch.timings_ms == batch[0].timings_ms == batch.average().timings_ms == {}
    assert "timings_ms" not in batch.average().to_dict()
    timed = replace(batch, timings_ms={"encode": 1.5, "solve": 0.5})
    for result in (timed[0], timed[1:][-1], timed.average()):
        assert result.timings_ms == timed.timings_ms
        assert json.loads(json.dumps(result.to_dict()))["timings_ms"] == {"encode": 1.5, "solve": 0.5}
    assert timed[0].without(timed[0].top()[0][0]).timings_ms == {}


def test_scipy(batch: Decompositions) -> None:
    pytest.importorskip("scipy")
    matrix = batch.to_scipy()
    assert matrix.shape == (7, 120)
    assert matrix.sum() == pytest.approx(batch.codes.values.sum())


def test_recompose_many(dictionary: Dictionary, mean: Rows) -> None:
    codes = [{"word3": 0.5}, {}, {"word3": 0.2, "word9": -0.1}]
    rows = recompose(codes, dictionary, mean)
    assert rows.shape == (3, 24)
    assert np.allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    assert np.allclose(rows[0], recompose(codes[0], dictionary, mean))
    with pytest.raises(InputError, match="finite"):
        recompose({"word3": float("nan")}, dictionary, mean)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 1.5))
def test_recomposing_the_words_gives_the_embedding(seed: int, penalty: float) -> None:
    rng = np.random.default_rng(seed)
    dictionary = Dictionary(WORDS[:40], unit_rows(rng, 40, 12), np.zeros(12))
    mean = rng.standard_normal(12).astype(np.float32) * np.float32(0.2)
    result = decompose(unit_rows(rng, 1, 12), dictionary, mean, cpu, l1_penalty=penalty)[0]
    assert np.allclose(result.embedding, recompose(dict(result.top()), dictionary, mean), atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "exactly one"),
        ({"l1_penalty": 0.2, "l0": 3}, "exactly one"),
        ({"l1_penalty": 0.0}, "positive"),
        ({"l0": 0}, "l0"),
        ({"l0": 3, "warm_start": ()}, "warm_start"),
        ({"l1_penalty": 0.2, "embeddings": np.full((1, 24), np.nan, np.float32)}, "NaN"),
        ({"l1_penalty": 0.2, "embeddings": np.ones((1, 23), np.float32)}, "same model"),
        ({"l1_penalty": 0.2, "embeddings": np.zeros((2, 24), np.float32)}, "embedding 0 is zero"),
        ({"l1_penalty": 0.2, "mean": np.zeros(23, np.float32)}, "mean"),
        ({"l1_penalty": 0.2, "mean": np.full(24, np.inf, np.float32)}, "mean"),
    ],
)
def test_bad_input(
    arguments: dict[str, object], message: str, embeddings: Rows, dictionary: Dictionary, mean: Rows
) -> None:
    call = {"embeddings": embeddings, "mean": mean, **arguments}
    with pytest.raises(InputError, match=message):
        decompose(dictionary=dictionary, kernels=reference, **call)  # type: ignore[arg-type]


def test_as_many_labels_as_embeddings(dictionary: Dictionary, embeddings: Rows, mean: Rows) -> None:
    with pytest.raises(InputError, match="2 labels"):
        average([(embeddings, ["x", "y"])], dictionary, mean, reference, l1_penalty=0.2)
