"""``fastconcept evaluate`` over the shards of a job: the same findings, and nothing is encoded again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from fastconcept import Engine
from fastconcept.cli import run as run_command
from fastconcept.datasets.dataset import Dataset, open_dataset
from fastconcept.errors import InputError
from fastconcept.evaluate.concepts import concepts
from fastconcept.evaluate.drift import drift
from fastconcept.evaluate.edit import edit
from fastconcept.evaluate.weights import decompose_dataset
from fastconcept.jobs.batch import batch
from fastconcept.jobs.tasks import Concepts, Decompose, Embed
from fastconcept.saliency.layout import Layout
from tests.jobs.worlds import colours, folder_of


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reading-back")
    paths = folder_of(folder / "photos", 24, damaged=12)
    lines = ["path,label,year,city"]
    lines += [
        f"{path},{Path(path).parent.name[:-1]},{2000 + k % 3},{'Rome' if k % 4 else 'Oslo'}"
        for k, path in enumerate(paths)
    ]
    (folder / "list.csv").write_text("\n".join(lines))
    return folder / "list.csv"


def job(source: Path, task: Any, out: Path) -> Path:
    batch(task, source, out, engine=colours, shard_rows=7)
    return out


class NoEncoder:
    batch_size = 4

    def encode(self, pixels: Any) -> Any:
        raise AssertionError("an image was encoded again")


def without_encoder() -> Engine:
    return Engine(colours().parts.replace(image_encoder=NoEncoder()))


@pytest.mark.parametrize("task", [Embed(), Decompose(l1_penalty=0.2), Decompose(l1_penalty=0.2, embeddings=True)])
def test_words_are_those_of_the_images(task: Any, source: Path, tmp_path: Path) -> None:
    stored = open_dataset(job(source, task, tmp_path / "out"))
    images = decompose_dataset(colours(), open_dataset(source), l1_penalty=0.2)
    weights = decompose_dataset(without_encoder(), stored, l1_penalty=0.2)
    assert [item.name for item in weights.items] == [str(item.image) for item in images.items]
    for name in ("indptr", "indices", "values"):
        np.testing.assert_array_equal(getattr(weights, name), getattr(images, name))
    np.testing.assert_allclose(weights.cosine, images.cosine, atol=1e-12)
    assert len(weights.bad) == 2
    assert stored.layout == f"batch {task.verb}"
    assert weights.items[3].attributes["city"] == images.items[3].attributes["city"]


def test_findings_are_those_of_the_images(source: Path, tmp_path: Path) -> None:
    stored, images = open_dataset(job(source, Decompose(), tmp_path / "out")), open_dataset(source)
    one, other = (
        concepts(engine, data, compare=("cat", "dog"))
        for engine, data in ((without_encoder(), stored), (colours(), images))
    )
    assert replace(one, bad=[], seconds=0.0) == replace(other, bad=[], seconds=0.0)
    moved, expected = (
        drift(engine, data, "year") for engine, data in ((without_encoder(), stored), (colours(), images))
    )
    assert replace(moved, bad=[], seconds=0.0) == replace(expected, bad=[], seconds=0.0)


def test_filters_keep_rows_and_their_numbers_together(source: Path, tmp_path: Path) -> None:
    stored = open_dataset(job(source, Decompose(embeddings=True), tmp_path / "out"))
    part = stored.where(city="Oslo").sample(4)
    weights, whole = decompose_dataset(without_encoder(), part), decompose_dataset(without_encoder(), stored)
    for row, item in enumerate(part.items):
        span, other = (slice(*each.indptr[k : k + 2]) for each, k in ((weights, row), (whole, item.row)))
        np.testing.assert_array_equal(weights.values[span], whole.values[other])
        np.testing.assert_array_equal(weights.embeddings[row], whole.embeddings[item.row])


def test_columns_are_chosen(source: Path, tmp_path: Path) -> None:
    out = job(source, Embed(), tmp_path / "out")
    assert set(open_dataset(out).items[0].attributes) == {"year", "city", "sha256"}
    assert set(open_dataset(out / "shards", columns=["year"]).items[0].attributes) == {"year"}
    assert set(open_dataset(source, columns=["year"]).items[0].attributes) == {"year"}
    with pytest.raises(InputError, match=r"no column 'price'; there are: .*city"):
        open_dataset(out, columns=["price"])
    with pytest.raises(InputError, match="no column 'price'; there are: city, label, year"):
        open_dataset(source, columns=["price"])


def test_words_of_another_penalty(source: Path, tmp_path: Path) -> None:
    words = open_dataset(job(source, Decompose(), tmp_path / "words"))
    with pytest.raises(InputError, match=r"has words for .*0\.25.*and no embeddings to make others from"):
        decompose_dataset(colours(), words, l0=2)
    both = open_dataset(job(source, Decompose(embeddings=True), tmp_path / "both"))
    expected = decompose_dataset(colours(), open_dataset(source), l0=2)
    np.testing.assert_array_equal(decompose_dataset(without_encoder(), both, l0=2).values, expected.values)
    with pytest.raises(InputError, match="has words, but no embeddings; run the job with --embeddings"):
        edit(colours(), words, ["red"], target="label", nuisance="city")


def test_jobs_that_cannot_be_read(source: Path, tmp_path: Path) -> None:
    layout = Layout(sizes=(64,), stride=64, border="inside")
    with pytest.raises(InputError, match="neither embeddings nor words; run the job with --embeddings"):
        open_dataset(job(source, Concepts(1, layout=layout), tmp_path / "concepts"))
    open_dataset(job(source, Concepts(1, layout=layout, embeddings=True), tmp_path / "embedded"))
    out = job(source, Embed(), tmp_path / "out")
    (out / "shards/part-000001.parquet").rename(out / "part-000001.parquet")
    with pytest.raises(InputError, match="has 3 shards, but its job has written 4"):
        open_dataset(out)
    (out / "part-000001.parquet").rename(out / "shards/part-000001.parquet")
    (out / "shards/part-000000.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="cannot be read"):
        open_dataset(out)
    manifest = json.loads((out / "manifest.json").read_text())
    del manifest["counts"]
    (out / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="has not ended; start it again"):
        open_dataset(out)


@pytest.fixture(scope="module")
def photographs_of_animals(photographs: list[Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops of a cat and of a motorcycle, in folders that are their labels."""
    from PIL import Image

    folder = tmp_path_factory.mktemp("animals")
    for label, path in (("cat.n.01", photographs[0]), ("motorcycle.n.01", photographs[4])):
        (folder / label).mkdir()
        with Image.open(path) as image:
            for k in range(4):
                image.convert("RGB").crop((20 * k, 10 * k, 220 + 20 * k, 200 + 10 * k)).save(
                    folder / label / f"{k}.jpg"
                )
    (folder / "cat.n.01/none.jpg").write_bytes(b"none")
    return folder


def test_the_verbs_read_shards(
    photographs_of_animals: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """batch embed, then evaluate ood over its shards and over the images: the same AUROC."""

    def answer(*words: str | Path) -> dict[str, Any]:
        assert run_command([*map(str, words), "--json"]) == 0
        document: dict[str, Any] = json.loads(capsys.readouterr().out)
        return document

    out = tmp_path / "out"
    written = answer("batch", "embed", photographs_of_animals, "-o", out)
    assert (written["images"], written["failed"]) == (8, 1)
    options = ["--inside", "animal.n.01", "--null-seeds", "1"]
    ours, theirs = (answer("evaluate", "ood", place, *options) for place in (out, photographs_of_animals))
    assert ours["pairs"] == theirs["pairs"]
    named = answer("evaluate", "concepts", out, "--where", "label=cat*", "--columns", "sha256")
    assert named["settings"]["items"] == 4
    assert "cat" in str(named["groups"][0]["words"])


def test_another_bundle_is_refused(photographs_of_animals: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    import fastconcept as fc

    batch(Embed(), photographs_of_animals, tmp_path / "out")
    dataset: Dataset = open_dataset(tmp_path / "out")
    with pytest.raises(InputError, match="was made with another bundle than"):
        decompose_dataset(fc.load(tiny_bundle), dataset)


def test_a_shard_alone_is_a_file_of_embeddings(source: Path, tmp_path: Path) -> None:
    out = job(source, Decompose(embeddings=True), tmp_path / "out")
    dataset = open_dataset(out / "shards/part-000000.parquet")
    assert dataset.embeddings is not None
    assert dataset.items[0].attributes["year"] == str(pq.read_table(out / "shards/part-000000.parquet")["year"][0])
