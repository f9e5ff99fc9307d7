"""Sources and folders of bulk jobs, changed at random: tables, parquet files, tars, manifests, plans, shards."""

from __future__ import annotations

import io
import shutil
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconcept.datasets.dataset import open_dataset
from fastconcept.jobs.batch import batch
from fastconcept.jobs.places import Folder
from fastconcept.jobs.rows import read_rows
from fastconcept.jobs.sources import make_plan
from fastconcept.jobs.tasks import Decompose, Embed
from tests.fuzz.engines import colours
from tests.fuzz.properties import changed_bytes, inputs, only_our_errors
from tests.jobs.worlds import folder_of, picture

pytest.importorskip("pyarrow", reason="needs the extra batch")
FOLDER = Path(tempfile.mkdtemp(prefix="fastconcept-fuzz-"))
ENGINE = colours()


def tables() -> list[bytes]:
    import pyarrow
    from pyarrow import parquet

    made = []
    for column in ({"image": [picture(1), picture(2)]}, {"path": ["a.png", "b.png"], "label": ["x", None]}):
        stream = io.BytesIO()
        parquet.write_table(pyarrow.table(column), stream)
        made.append(stream.getvalue())
    return made


def tar(mode: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in (
            ("0.png", picture(0)),
            ("0.txt", b"red"),
            ("a" * 200 + ".png", picture(1)),
            ("1.json", b"{}"),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


TABLES = [b"path,label\na.png,x\nb.png,y\n", b"file\tlabel\na.png\tx\n", *tables(), tar("w"), tar("w:gz")]


@given(st.sampled_from([".csv", ".tsv", ".parquet", ".parquet", ".tar", ".tar", ".tar.gz"]), changed_bytes(TABLES))
@inputs(40, 0.05)
def test_sources(ending: str, content: bytes) -> None:
    source = FOLDER / f"data{ending}"
    source.write_bytes(content)
    with tempfile.TemporaryDirectory(dir=FOLDER) as out, only_our_errors():
        folder = Folder(out)
        plan = make_plan(str(source), folder, 1000)
        for unit in plan.units:
            for _ in read_rows(unit, plan, folder):
                pass


def finished() -> list[tuple[str, bytes]]:
    """The files of a finished job, of which one image was damaged."""
    folder_of(FOLDER / "images", 4, damaged=3)
    batch(Decompose(l0=2), FOLDER / "images", FOLDER / "job", engine=lambda: ENGINE, shard_rows=2)
    files = [path for path in sorted((FOLDER / "job").rglob("*")) if path.is_file() and path.name != "lock"]
    return [(str(path.relative_to(FOLDER / "job")), path.read_bytes()) for path in files]


FILES = finished()


@given(st.sampled_from([name for name, _ in FILES]), st.data())
@inputs(15, 0.02)
def test_folders(name: str, data: st.DataObject) -> None:
    job = FOLDER / "job"
    shutil.rmtree(job)
    for other, content in FILES:
        path = job / other
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data.draw(changed_bytes([content])) if other == name else content)
    with only_our_errors():
        assert open_dataset(job).items is not None
    with only_our_errors():
        batch(Decompose(l0=2), FOLDER / "images", job, engine=lambda: ENGINE, shard_rows=2)
    with only_our_errors():
        batch(Embed(), FOLDER / "images", job, engine=lambda: ENGINE, shard_rows=2)
