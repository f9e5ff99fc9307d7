"""Every task finds what was planted, and finds nothing where nothing was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fastconcept.datasets.dataset import Dataset
from fastconcept.datasets.items import Item
from fastconcept.engine import Engine
from fastconcept.errors import ConceptError, InputError
from fastconcept.evaluate import weights
from fastconcept.evaluate.concepts import concepts
from fastconcept.evaluate.drift import drift
from fastconcept.evaluate.edit import edit, scaled_embeddings
from fastconcept.evaluate.ood import SCORES, negatives, ood, scores, split
from fastconcept.evaluate.retrieval import retrieval
from fastconcept.evaluate.zeroshot import class_embeddings, zeroshot
from tests.planted import WORDS

Rows = Callable[..., Dataset]


def mixed(count: int, **words: float) -> list[dict[str, float]]:
    """The same code ``count`` times with weights that vary a little."""
    generator = np.random.default_rng(count)
    return [{word: weight * generator.uniform(0.8, 1.2) for word, weight in words.items()} for _ in range(count)]


def test_ood_tells_planted_sides_apart(planted: Engine, write_rows: Rows) -> None:
    data = write_rows([*mixed(40, lion=1), *mixed(40, car=1)], label=["lion.n.01"] * 40 + ["car.n.01"] * 40)
    found = ood(planted, data, "big_cat.n.01", null_seeds=3, repeats=200)
    assert found.counts == (40, 40) and not found.bad
    rows = {row.score: row for row in found.rows}
    assert set(rows) == set(SCORES)
    for score in ("leaves", "definition"):
        assert rows[score].auroc == 1.0 and rows[score].fpr95 == 0.0
    for control, areas in rows["leaves"].null.items():
        assert len(areas) == 3 and rows["leaves"].lift[control][0] == pytest.approx(1 - np.mean(areas))
        assert rows["lemmas"].null[control] != [rows["lemmas"].auroc] * 3
    inside, outside = found.values["leaves"]
    leaves = planted.bank.embeddings[planted.bank.leaves("big_cat.n.01")]
    unit = np.eye(32, dtype=np.float32)[2]
    assert inside.mean() == pytest.approx((leaves @ unit).max(), abs=0.02) and outside.max() < inside.min()


def test_ood_scores_by_their_definitions(planted: Engine) -> None:
    rows = np.random.default_rng(1).standard_normal((7, 32)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    found = scores(planted, rows, "big_cat.n.01", ("mcm", "neglabel"))
    bank, scale = planted.bank, planted.bundle.manifest.logit_scale
    inside = bank.leaves("big_cat.n.01")
    near = np.exp(scale * (rows @ bank.embeddings[inside].T).astype(np.float64))
    np.testing.assert_allclose(found["mcm"], near.max(axis=1) / near.sum(axis=1), rtol=1e-4)
    far = np.exp(scale * (rows @ bank.embeddings[negatives(bank, inside)].T).astype(np.float64))
    np.testing.assert_allclose(found["neglabel"], near.sum(axis=1) / (near.sum(axis=1) + far.sum(axis=1)), rtol=1e-4)
    with pytest.raises(InputError, match="unknown score"):
        scores(planted, rows, "big_cat.n.01", ("energy",))


def test_ood_needs_two_sides(planted: Engine, write_rows: Rows) -> None:
    data = write_rows(mixed(4, lion=1), label=["lion.n.01", "lion.n.01", "zzz.n.01", "a thing that is not there"])
    with pytest.raises(InputError, match="out-of-distribution"):
        ood(planted, data, "big_cat.n.01")
    assert [name for name, _ in split(data, "big_cat.n.01", None)[1]] == ["rows.npz[2]", "rows.npz[3]"]
    with pytest.raises(InputError, match="share"):
        split(data, "feline.n.01", "big_cat.n.01")
    with pytest.raises(ConceptError):
        split(data, "big_catt.n.01", None)


def test_zeroshot_dense_decomposed_and_null(planted: Engine, write_rows: Rows) -> None:
    codes = [*mixed(30, cat=1, grass=0.3), *mixed(30, dog=1, sand=0.3), *mixed(30, car=1, night=0.3)]
    data = write_rows(codes, noise=0.05, label=["cat"] * 30 + ["dog"] * 30 + ["car"] * 29 + ["ship"])
    found = zeroshot(planted, data, classes=["cat", "dog", "car"], l1_penalties=(0.1, 1.5), repeats=200)
    dense, fine, coarse = found.rows
    assert dense.top1 == fine.top1 == 1.0 and fine.retention == 1.0 and found.count == 89
    assert 2 <= fine.l0 < 4 and coarse.l0 < 1.01 < fine.l0 and coarse.cosine < fine.cosine
    assert fine.null["shuffled-definitions"][1] == 0.0
    assert fine.lift["shuffled-definitions"] == pytest.approx((1.0, 1.0, 1.0))
    words, accuracy = fine.null["random-vocabulary"]
    assert words == pytest.approx(fine.l0, rel=0.25) and 0 <= accuracy <= 1.0
    assert [name for name, _ in found.bad] == ["rows.npz[89]"]
    with pytest.raises(InputError, match="no item"):
        zeroshot(planted, data, classes=["ship wreck"])


def test_class_prompts(planted: Engine) -> None:
    one = class_embeddings(planted, ["lion.n.01"], ["a photo of a {}"])
    np.testing.assert_allclose(one, planted.encode_text(["a photo of a lion"]), atol=1e-6)
    told = class_embeddings(planted, ["cat.n.01"], ["{definition}"])
    definition = "feline mammal usually having thick soft fur and no ability to roar: domestic cats; wildcats"
    np.testing.assert_allclose(told, planted.encode_text([definition]), atol=1e-6)
    both = class_embeddings(planted, ["cat"], ["a {}", "a {} in the grass"])
    sums = planted.encode_text(["a cat"]) + planted.encode_text(["a cat in the grass"])
    np.testing.assert_allclose(both, sums / np.linalg.norm(sums), atol=1e-6)
    with pytest.raises(InputError, match="template"):
        class_embeddings(planted, ["cat"], ["a {colour} cat"])


def test_retrieval_finds_captions_both_ways(planted: Engine, write_rows: Rows) -> None:
    data = write_rows([{"cat": 1, "grass": 1}, {"dog": 1, "sand": 1}, {"car": 1}], label=["a", "b", "c"])
    captions = (("a cat on grass", "grass"), ("a dog on sand",), ("a car", "cars in a row"))
    items = tuple(replace(item, captions=text) for item, text in zip(data.items, captions, strict=True))
    silent = replace(data.items[0], name="silent")
    found = retrieval(planted, replace(data, items=(*items, silent)), l1_penalties=(0.1,), repeats=50)
    assert (found.images, found.captions) == (3, 5) and found.bad == [("silent", "has no caption")]
    assert [row.kind for row in found.rows] == ["dense", "decomposed images", "decomposed both"]
    for row in found.rows:
        assert row.text_to_image[1] == row.image_to_text[1] == 1.0
        assert row.null["shuffled-definitions"][0] < 1.0
    with pytest.raises(InputError, match="caption"):
        retrieval(planted, data)


def test_concepts_of_groups_and_their_difference(planted: Engine, write_rows: Rows) -> None:
    codes = [*mixed(40, cat=0.6, grass=0.4), *mixed(40, cat=0.6, sand=0.4)]
    data = write_rows(codes, label=["cat"] * 80, place=["field"] * 40 + ["beach"] * 40)
    found = concepts(planted, data, by="place", compare=("beach", "field"), l1_penalty=0.1, repeats=400, top=5)
    everything, beach, field = found.groups
    assert (everything.count, beach.count, field.count) == (80, 40, 40)
    assert everything.words[0][0] == "cat" and [w for w, _ in beach.words[:2]] == ["cat", "sand"]
    words = {entry.word: entry for entry in found.differences}
    assert words["sand"].low > 0 > words["grass"].high and words["sand"].q < 0.05 and words["sand"].effect > 3
    assert found.differing >= 2 and found.differing_by_chance < 0.5
    single = planted.decompose(embeddings=data.embeddings, l1_penalty=0.1)
    mean = np.mean([dict(single[k].top())["sand"] for k in range(40, 80)])
    assert words["sand"].means[0] == pytest.approx(mean)
    with pytest.raises(InputError, match="forest has 0 items"):
        concepts(planted, data, by="place", compare=("beach", "forest"))


def test_class_names_are_among_their_words(planted: Engine, write_rows: Rows) -> None:
    data = write_rows(
        [*mixed(9, cat=1), *mixed(9, dog=1), *mixed(9, lion=1)], label=["cat"] * 9 + ["dog"] * 9 + ["lion"] * 9
    )
    found = concepts(planted, data, l1_penalty=0.3)
    assert found.named == 1.0 and found.named_null == 0.0


def test_editing_hides_the_nuisance_and_keeps_the_target(planted: Engine, write_rows: Rows) -> None:
    pytest.importorskip("sklearn")
    combinations = [(a, b) for a in ("cat", "dog") for b in ("grass", "sand") for _ in range(15)]
    data = write_rows(
        [{a: 1.0, b: 0.8} for a, b in combinations],
        label=[a for a, _ in combinations],
        place=[b for _, b in combinations],
    )
    found = edit(planted, data, ["grass", "sand"], nuisance="place", l1_penalty=0.1, folds=3)
    dense, plain, edited, null = found.rows
    assert dense.target == plain.target == edited.target == 1.0 and edited.worst == 1.0
    assert plain.nuisance == 1.0 and edited.nuisance <= 0.6 and edited.retrained <= 0.75 < null.nuisance
    assert found.words == ("grass", "sand") and found.touched == 1.0
    same = edit(planted, data, ["grass", "sand"], nuisance="place", l1_penalty=0.1, folds=3, scale=1.0)
    assert same.rows[2].nuisance == same.rows[1].nuisance
    with pytest.raises(ConceptError):
        edit(planted, data, ["gras"], nuisance="place")
    with pytest.raises(InputError, match="two values"):
        edit(planted, data, ["grass"], nuisance="absent")
    with pytest.raises(InputError, match="at least one word"):
        edit(planted, data, [], nuisance="place")


def test_editing_is_without(planted: Engine, write_rows: Rows) -> None:
    data = write_rows([{"cat": 1, "grass": 0.5}, {"dog": 1}])
    found = weights.decompose_dataset(planted, data, l1_penalty=0.1)
    changed = scaled_embeddings(planted, found, np.array([WORDS.index("grass")]), 0.0)
    expected = planted.decompose(embeddings=data.embeddings, l1_penalty=0.1)[0].without("grass").embedding
    np.testing.assert_allclose(changed[0], expected, atol=1e-6)


def test_drift_raises_alarms_where_weights_move(planted: Engine, write_rows: Rows) -> None:
    years = [year for year in range(2000, 2010) for _ in range(12)]
    codes = [{"cat": 1.0, "snow": 0.05 * (year - 2000), "rain": 0.3} for year in years]
    data = write_rows(codes, noise=0.05, year=[str(year) for year in years])
    found = drift(planted, data, "year", l1_penalty=0.05, repeats=400)
    assert [name for name, _ in found.groups] == [str(year) for year in range(2000, 2010)]
    snow = next(t for t in found.trends if t.word == "snow")
    assert snow.alarm and snow.trend > 0.8 and snow.means == sorted(snow.means) and found.trends[0].q <= snow.q
    rain = next(t for t in found.trends if t.word == "rain")
    assert rain.means[0] == pytest.approx(0.27, abs=0.05)
    order = np.random.default_rng(0).permutation(len(years))
    still = write_rows(codes, noise=0.05, year=[str(years[i]) for i in order])
    assert drift(planted, still, "year", l1_penalty=0.05, repeats=400).alarms == 0
    assert found.alarms_null < 1
    with pytest.raises(InputError, match="0 values"):
        drift(planted, data, "month")
    with pytest.raises(InputError, match="rate"):
        drift(planted, data, "year", rate=0)


def test_what_items_say() -> None:
    items = [
        Item("a", label="lion.n.01", box_labels=("dog.n.01", "car.n.01"), attributes={"year": "3"}),
        Item("b", label="car.n.01", box_labels=("a thing",)),
        Item("c"),
    ]
    assert weights.group_values(items, "year") == ["3", None, None]
    assert weights.group_values(items, "has:animal.n.01") == ["yes", "no", "no"]
    assert weights.group_values(items, "below:feline.n.01") == ["yes", "no", "no"]
    with pytest.raises(ConceptError):
        weights.group_values(items, "has:feeline.n.01")
