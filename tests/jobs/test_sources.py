"""Every kind of source gives the same rows, carries its columns, and says which of its rows cannot be used."""

from __future__ import annotations

import io
import json
import os
import tarfile
from functools import partial
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastconcept.errors import InputError
from fastconcept.jobs.batch import batch
from fastconcept.jobs.tasks import Embed
from tests.jobs.test_batch import failed, read
from tests.jobs.worlds import colours, folder_of, picture

run = partial(batch, Embed(), engine=colours)


def tar(path: Path, members: dict[str, bytes], mode: Any = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def names(out: Path) -> list[str]:
    return [os.path.basename(row["path"]) for row in read(out)]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("", ["00000.png", "00002.png", "00001.png", "00003.png"]),
        ("/cats/*.png", ["00000.png", "00002.png"]),
        ("/**/0000[12].png", ["00002.png", "00001.png"]),
        ("/{dogs,cats}/0000[0-2].*", ["00001.png", "00000.png", "00002.png"]),
        ("/{dogs/00001,cats/00000}.png", ["00001.png", "00000.png"]),
        ("/dogs/00003.png", ["00003.png"]),
    ],
)
def test_folders_and_globs(pattern: str, expected: list[str], tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", 4)
    (tmp_path / "photos/.hidden.png").write_bytes(picture(9))
    run(f"{tmp_path}/photos{pattern}", tmp_path / "out")
    assert names(tmp_path / "out") == expected


def test_labels_are_the_folders(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", 2)
    (tmp_path / "photos/1.png").write_bytes(picture(1))
    run(tmp_path / "photos", tmp_path / "out")
    assert [row["label"] for row in read(tmp_path / "out")] == [None, "cats", "dogs"]
    run(tmp_path / "photos", tmp_path / "dogs", where={"label": "d*"}, columns=[])
    assert [sorted(row) for row in read(tmp_path / "dogs")] == [["embedding", "path", "sha256"]]


def test_csv_carries_its_columns(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", 3)
    lines = [
        "File,class,year,sha256",
        "cats/00000.png,cat,2023,abc",
        "dogs/00001.png,dog,2024,",
        ",cat,2025,",
        "no.png,,,",
    ]
    (tmp_path / "photos/list.csv").write_text("\n".join(lines))
    run(tmp_path / "photos/list.csv", tmp_path / "out")
    rows = read(tmp_path / "out")
    assert [(row["label"], row["year"], row["source_sha256"]) for row in rows] == [
        ("cat", "2023", "abc"),
        ("dog", "2024", None),
    ]
    assert rows[0]["path"] == str(tmp_path / "photos/cats/00000.png")
    reasons = failed(tmp_path / "out")
    assert list(reasons.values()) == ["has no image", "no image file is there"]
    assert list(reasons)[1] == str(tmp_path / "photos/no.png")
    run(tmp_path / "photos/list.csv", tmp_path / "new", where={"year": "202[4-9]"}, columns=["year"])
    assert [row["year"] for row in read(tmp_path / "new")] == ["2024"]


def test_csv_without_header_and_images_elsewhere(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", 2)
    (tmp_path / "list.csv").write_text("cats/00000.png,cat\ndogs/00001.png,dog\n")
    run(tmp_path / "list.csv", tmp_path / "out", images=str(tmp_path / "photos"))
    assert [row["label"] for row in read(tmp_path / "out")] == ["cat", "dog"]


def test_parquet_of_paths(tmp_path: Path) -> None:
    folder_of(tmp_path / "photos", 5)
    paths = [f"{('cats', 'dogs')[n % 2]}/{n:05d}.png" for n in range(5)]
    table = pa.table({"file_name": paths, "year": [2020 + n for n in range(5)], "tags": [["a"]] * 5})
    pq.write_table(table, tmp_path / "photos/list.parquet", row_group_size=2)
    run(tmp_path / "photos/list.parquet", tmp_path / "out", shard_rows=3, where={"year": "202[0-3]"})
    rows = read(tmp_path / "out")
    assert [row["path"] for row in rows] == [str(tmp_path / "photos" / path) for path in paths[:4]]
    assert [row["year"] for row in rows] == [2020, 2021, 2022, 2023]
    assert rows[0]["tags"] == ["a"]
    assert [pq.read_metadata(file).num_rows for file in sorted((tmp_path / "out/shards").iterdir())] == [3, 1]


@pytest.mark.parametrize("hugging_face", [False, True])
def test_parquet_of_bytes(hugging_face: bool, tmp_path: Path) -> None:
    data = [picture(n) if n != 3 else b"junk" for n in range(7)]
    images = [{"bytes": item, "path": f"{n}.png"} for n, item in enumerate(data)] if hugging_face else data
    columns: dict[str, Any] = {"image": images, "caption": [f"number {n}" for n in range(7)]}
    (tmp_path / "set").mkdir()
    for part, (start, stop) in enumerate([(0, 4), (4, 7)]):
        table = pa.table({name: values[start:stop] for name, values in columns.items()})
        pq.write_table(table, tmp_path / f"set/{part}.parquet", row_group_size=2)
    run(tmp_path / "set", tmp_path / "out", shard_rows=3)
    rows = read(tmp_path / "out")
    assert [row["caption"] for row in rows] == [f"number {n}" for n in (0, 1, 2, 4, 5, 6)]
    assert "image" not in rows[0]
    name = "3.png" if hugging_face else f"{tmp_path}/set/0.parquet row 3"
    assert list(failed(tmp_path / "out")) == [name]


def test_webdataset(tmp_path: Path) -> None:
    members: dict[str, bytes] = {}
    for number in range(4):
        members[f"./{number:03d}.jpg"] = picture(number, "JPEG")
        members[f"./{number:03d}.txt"] = f"photo {number}".encode()
        members[f"./{number:03d}.json"] = json.dumps({"url": f"u{number}"}).encode()
    members["004.cls"] = b"7"
    members["a/005.PNG"] = picture(5)
    members["a/._005.png"] = b"of a Macintosh"
    members["README.md"] = b"about"
    first = tar(tmp_path / "0.tar", members)
    tar(tmp_path / "1.tar", {"6.png": picture(6), "6.cls": b"3"})
    result = run(tmp_path, tmp_path.parent / f"{tmp_path.name}-out")
    out = tmp_path.parent / f"{tmp_path.name}-out"
    rows = read(out)
    assert [row["path"] for row in rows][:2] == [f"{first}/000.jpg", f"{first}/001.jpg"]
    assert [row["caption"] for row in rows] == ["photo 0", "photo 1", "photo 2", "photo 3", None, None]
    assert [row["label"] for row in rows] == [None] * 5 + ["3"]
    assert json.loads(rows[2]["json"]) == {"url": "u2"}
    assert failed(out) == {f"{first}/004": "has no image"}
    assert result.shards == 2


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_that_breaks_off_keeps_what_came_before(mode: str, tmp_path: Path) -> None:
    path = tar(tmp_path / ("0.tar" if mode == "w" else "0.tar.gz"), {f"{n}.png": picture(n) for n in range(5)}, mode)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2 if mode == "w:gz" else 3 * 1024 + 500])
    tar(tmp_path / "1.tar", {"9.png": picture(9)})
    run(tmp_path, tmp_path / "out")
    reasons = failed(tmp_path / "out")
    assert list(reasons) == [str(path)]
    assert reasons[str(path)].startswith("cannot be read as a tar after")
    assert names(tmp_path / "out")[-1] == "9.png"
    assert mode == "w:gz" or names(tmp_path / "out")[0] == "0.png"


def test_a_parquet_file_that_is_none_fails_alone(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [picture(1)]}), tmp_path / "0.parquet")
    (tmp_path / "1.parquet").write_bytes(b"PAR1 no more")
    run(tmp_path, tmp_path / "out")
    assert list(failed(tmp_path / "out")) == [str(tmp_path / "1.parquet")]
    assert len(read(tmp_path / "out")) == 1


def test_anything_that_fsspec_opens(tmp_path: Path) -> None:
    """Source and job in another file system; the rows are those of this one."""
    memory = fsspec.filesystem("memory")
    folder_of(tmp_path / "photos", 6)
    memory.put(str(tmp_path / "photos"), "/bucket/photos", recursive=True)
    run("memory://bucket/photos/**/*.png", "memory://bucket/out", shard_rows=4)
    run(tmp_path / "photos", tmp_path / "out", shard_rows=4)
    memory.get("/bucket/out", str(tmp_path / "copy"), recursive=True)
    here, there = read(tmp_path / "out"), read(tmp_path / "copy")
    assert [row.pop("path") for row in there] == [
        f"memory:///bucket/photos/{os.path.relpath(row.pop('path'), tmp_path / 'photos')}" for row in here
    ]
    assert here == there
    memory.rm_file("/bucket/out/shards/part-000001.parquet")
    assert run("memory://bucket/photos/**/*.png", "memory://bucket/out", shard_rows=4).images_now == 2
    memory.rm("/bucket", recursive=True)


def test_names_that_are_not_text(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/photos/caf\xe9.png"
    (tmp_path / "photos").mkdir()
    Path(os.fsdecode(name)).write_bytes(picture(1))
    run(tmp_path / "photos", tmp_path / "out")
    assert names(tmp_path / "out") == ["caf\\xe9.png"]


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("nothing", {}, "nothing at"),
        ("empty", {}, "has no image, tar or parquet file"),
        ("empty/*.jpg", {}, "has no image, tar or parquet file"),
        ("mixed", {}, "mixes kinds"),
        ("mixed/a.png", {"columns": ["year"]}, "columns: .* has no column 'year'; there are: label"),
        ("mixed/a.png", {"where": {"year": "2"}}, "where: .* has no column 'year'; there are: label, path"),
        ("mixed/a.png", {"where": {"label": "x"}}, "has no row that matches"),
        ("mixed/a.png", {"image_column": "x"}, "image_column is for parquet files"),
        ("mixed/a.png", {"shard_rows": 0}, "shard_rows must be from 1"),
        ("numbers.parquet", {}, "no column of images or paths that is known; name it with image_column: n int64"),
        ("numbers.parquet", {"image_column": "x"}, "image_column: .* has no column 'x'; there are: n"),
        ("latin.csv", {}, "cannot be read as CSV"),
        ("twice.csv", {}, "has columns of the same name"),
        ("empty.csv", {}, "is empty"),
        ("page.html", {}, "is of no kind that is read here"),
        ("nosuch://bucket", {}, "cannot be opened: Protocol not known"),
    ],
)
def test_sources_that_are_none(source: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "mixed").mkdir()
    (tmp_path / "mixed/a.png").write_bytes(picture(1))
    tar(tmp_path / "mixed/b.tar", {"1.png": picture(1)})
    pq.write_table(pa.table({"n": [1, 2]}), tmp_path / "numbers.parquet")
    (tmp_path / "latin.csv").write_bytes("path,label\n1.png,caf\xe9\n".encode("latin-1"))
    (tmp_path / "twice.csv").write_text("path,year,year\n1.png,1,2\n")
    (tmp_path / "empty.csv").touch()
    (tmp_path / "page.html").touch()
    place = source if "://" in source else tmp_path / source
    with pytest.raises(InputError, match=message):
        run(place, tmp_path / "out", **options)
    assert not (tmp_path / "out/shards").exists()
