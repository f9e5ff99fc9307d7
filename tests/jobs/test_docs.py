"""The queries and the program of docs/batch.md do what the page says."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fastconcept.jobs.batch import batch
from fastconcept.jobs.tasks import Decompose
from tests.jobs.test_batch import read
from tests.jobs.worlds import colours, folder_of, picture

PAGE = Path(__file__).resolve().parents[2] / "docs/batch.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder_of(tmp_path / "photos", 30)
    (tmp_path / "photos/cats/copy.png").write_bytes(picture(0))
    batch(Decompose(), tmp_path / "photos", tmp_path / "words", engine=colours, shard_rows=8)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "words"


def test_duckdb(words: Path) -> None:
    duckdb: Any = pytest.importorskip("duckdb")
    duplicates, by_label = (duckdb.sql(query).fetchall() for query in blocks("sql"))
    copied = [row for row in read(words) if Path(row["path"]).name in ("copy.png", "00000.png")]
    assert duplicates == [(copied[0]["sha256"], 2, copied[0]["path"])]
    expected = Counter((row["label"], pair["word"]) for row in read(words) for pair in row["words"])
    assert {(label, word): images for label, word, images, _ in by_label} == dict(expected)
    assert [images for _, _, images, _ in by_label] == sorted(expected.values(), reverse=True)
    weights = [pair["weight"] for row in read(words) for pair in row["words"] if row["label"] == by_label[0][0]
               and pair["word"] == by_label[0][1]]  # fmt: skip
    assert by_label[0][3] == pytest.approx(sum(weights) / len(weights), abs=6e-4)


def test_pandas(words: Path) -> None:
    pytest.importorskip("pandas")
    names: dict[str, Any] = {}
    (program,) = [block for block in blocks("python") if "pandas" in block]
    exec(program, names)  # noqa: S102 (of the page that is tested)
    table = names["words"]
    pairs = [(row["path"], pair["word"], pair["weight"]) for row in read(words) for pair in row["words"]]
    assert list(zip(table["path"], table["word"], table["weight"], strict=True)) == pairs
