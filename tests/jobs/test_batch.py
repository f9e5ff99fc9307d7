"""Bulk jobs: what is written for each verb, what fails, and that a job is only ever one job."""

from __future__ import annotations

import hashlib
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import fastconcept as fc
from fastconcept.errors import ConceptError, InputError
from fastconcept.jobs.batch import batch
from fastconcept.jobs.tasks import Concepts, Decompose, Embed, Explain
from fastconcept.saliency.layout import Layout
from tests.jobs.worlds import colours, folder_of, picture


def read(out: Path) -> list[dict[str, Any]]:
    """All rows of a job, shard after shard."""
    return [row for file in sorted((out / "shards").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]


def failed(out: Path) -> dict[str, str]:
    """Failed rows with their reasons."""
    return {row["path"]: row["reason"] for row in pq.read_table(out / "failed.parquet").to_pylist()}


def test_rows_are_what_the_engine_returns(tmp_path: Path) -> None:
    paths = folder_of(tmp_path / "photos", 25)
    result = batch(
        Decompose(l1_penalty=0.1, embeddings=True), tmp_path / "photos", tmp_path / "out", engine=colours, shard_rows=10
    )
    assert (result.shards, result.images, result.failed, result.images_now) == (3, 25, 0, 25)
    rows, engine = read(tmp_path / "out"), colours()
    assert [row["path"] for row in rows] == paths
    np.testing.assert_array_equal([row["embedding"] for row in rows], engine.encode_image(paths))
    for row, code in zip(rows, engine.decompose(paths, l1_penalty=0.1), strict=True):
        assert [(pair["word"], pair["weight"]) for pair in row["words"]] == code.top()
        assert (row["l0"], row["gap"], row["l1_penalty"]) == (code.l0, code.gap, 0.1)
        assert row["cosine"] == pytest.approx(code.cosine, abs=1e-12)
        assert row["sha256"] == hashlib.sha256(Path(row["path"]).read_bytes()).hexdigest()
        assert row["label"] == Path(row["path"]).parent.name
    schema = pq.read_schema(tmp_path / "out/shards/part-000000.parquet")
    assert str(schema.field("embedding").type) == "fixed_size_list<element: float>[3]"
    assert str(schema.field("words").type) == "list<element: struct<word: string, weight: double>>"


def test_damaged_images_fail_alone(tmp_path: Path) -> None:
    """5 % of the files are damaged: each of them is in failed.parquet, and all others in the shards."""
    paths = folder_of(tmp_path / "photos", 200, damaged=20)
    (tmp_path / "photos/cats/empty.png").touch()
    (tmp_path / "photos/dogs/note.txt").write_text("no image")
    result = batch(Embed(), tmp_path / "photos", tmp_path / "out", engine=colours, shard_rows=64)
    damaged = {path for path in paths if int(Path(path).stem) % 20 == 0} | {str(tmp_path / "photos/cats/empty.png")}
    reasons = failed(tmp_path / "out")
    assert set(reasons) == damaged
    assert all(reason.startswith(("is damaged", "is empty", "is not an image")) for reason in reasons.values()), reasons
    assert [row["path"] for row in read(tmp_path / "out")] == [path for path in paths if path not in damaged]
    assert (result.images, result.failed) == (190, 11)
    counts = json.loads((tmp_path / "out/manifest.json").read_text())["counts"]
    assert counts == {"shards": 4, "images": 190, "failed": 11}


def test_explain_writes_boxes_and_scores(tmp_path: Path) -> None:
    paths = folder_of(tmp_path / "photos", 3, damaged=3)
    layout = Layout(sizes=(64,), stride=32, border="inside")
    task = Explain(("red", "blue"), layout, embeddings=True)
    batch(task, tmp_path / "photos", tmp_path / "out", engine=colours)
    rows, engine = read(tmp_path / "out"), colours()
    assert [row["path"] for row in rows] == paths[1:]
    for row in rows:
        seen = engine.explain(row["path"], ["red", "blue"], **vars(layout))
        assert (row["width"], row["height"]) == (16, 12)
        for concept, expected in zip(row["concepts"], seen, strict=True):
            assert concept["concept"] == expected.concept
            assert tuple(concept["box"]) == expected.box()
            assert (concept["score"], concept["rank"]) == (expected.score, expected.rank)
        np.testing.assert_array_equal(row["embedding"], engine.encode_image(row["path"])[0])
    assert failed(tmp_path / "out") == {paths[0]: failed(tmp_path / "out")[paths[0]]}


def test_phrases_are_encoded_once(tmp_path: Path) -> None:
    """Text is not encoded anew for every image of a job."""
    calls = []

    class Texts:
        def encode(self, texts: Any) -> Any:
            calls.append(list(texts))
            return np.eye(3, dtype=np.float32)[: len(texts)]

    engine = fc.Engine(colours().parts.replace(text_encoder=Texts()))
    folder_of(tmp_path / "photos", 4)
    task = Explain(("a warm colour",), Layout(sizes=(64,), stride=64, border="inside"))
    batch(task, tmp_path / "photos", tmp_path / "out", engine=lambda: engine)
    assert calls == [["a warm colour"]] * 2  # one to check it, one for all images


def test_concepts_are_those_that_the_engine_sees(tmp_path: Path) -> None:
    paths = folder_of(tmp_path / "photos", 2)
    layout = Layout(sizes=(64,), stride=32, border="inside")
    batch(Concepts(2, layout=layout), tmp_path / "photos", tmp_path / "out", engine=colours)
    for path, row in zip(paths, read(tmp_path / "out"), strict=True):
        seen = colours().concepts(path, 2, **vars(layout))
        assert [concept["name"] for concept in row["concepts"]] == seen.names
        assert [concept["score"] for concept in row["concepts"]] == [concept.score for concept in seen]


def test_a_folder_holds_one_job(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", 4)
    run = partial(batch, source=tmp_path / "photos", out=tmp_path / "out", engine=colours)
    assert run(Decompose(l0=2)).images_now == 4
    assert run(Decompose(l0=2)).images_now == 0
    with pytest.raises(InputError, match=r"holds another job: options was \{'l0': 2\}, and is \{'l0': 1\} now"):
        run(Decompose(l0=1))
    with pytest.raises(InputError, match="holds another job: task was decompose, and is embed now"):
        run(Embed())
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.tex").touch()
    with pytest.raises(InputError, match=r"holds no job, but 'thesis\.tex'"):
        batch(Embed(), tmp_path / "photos", tmp_path / "full", engine=colours)
    assert len(read(tmp_path / "out")) == 4


def test_files_that_come_later_belong_to_another_job(tmp_path: Path) -> None:
    """The list is made once: what is added in between shifts no row into another shard."""
    folder_of(tmp_path / "photos", 6)
    run = partial(batch, Embed(), tmp_path / "photos", tmp_path / "out", engine=colours, shard_rows=2)
    run()
    (tmp_path / "out/shards/part-000001.parquet").unlink()
    (tmp_path / "photos/cats/00000a.png").write_bytes(picture(99))
    assert run().images_now == 2
    assert len({row["path"] for row in read(tmp_path / "out")}) == 6


def test_damaged_shards_are_named(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", 4)
    run = partial(batch, Embed(), tmp_path / "photos", tmp_path / "out", engine=colours)
    run()
    (tmp_path / "out/shards/part-000000.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"part-000000\.parquet is damaged.*remove it and start the job again"):
        run()


@pytest.mark.parametrize(
    ("task", "error", "message"),
    [
        (Decompose(l1_penalty=-1.0), InputError, "l1_penalty"),
        (Decompose(l0=0), InputError, "l0"),
        (Explain(("no-such-concept.n.01",)), ConceptError, "no-such-concept"),
        (Concepts(0), InputError, "top must be from 1"),
        (Concepts(3, layout=Layout("windows")), InputError, "windows"),
    ],
)
def test_wrong_options_cost_nothing(task: Any, error: type[Exception], message: str, tmp_path: Path) -> None:
    """They are found before the source is listed, and leave no folder."""
    with pytest.raises(error, match=message):
        batch(task, tmp_path, tmp_path / "out", engine=colours)
    assert not (tmp_path / "out").exists()


def test_only_one_process_works_on_a_job(tmp_path: Path) -> None:
    import fcntl

    folder_of(tmp_path / "photos", 1)
    (tmp_path / "out/job").mkdir(parents=True)
    with (tmp_path / "out/job/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(InputError, match="another process is at work on the job"):
            batch(Embed(), tmp_path / "photos", tmp_path / "out", engine=colours)


def test_progress_counts_rows_and_the_share_of_the_job(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", 10, damaged=5)
    calls: list[tuple[int, float]] = []
    run = partial(batch, Embed(), tmp_path / "photos", tmp_path / "out", engine=colours, shard_rows=4)
    run(progress=lambda rows, share: calls.append((rows, round(share, 6))))
    assert calls == [(0, 0.0), (4, 0.4), (8, 0.8), (10, 1.0)]
    (tmp_path / "out/shards/part-000000.parquet").unlink()
    calls.clear()
    run(progress=lambda rows, share: calls.append((rows, round(share, 6))))
    assert calls == [(0, 0.6), (4, 1.0)]
