"""Every layout reads what its specification says, and bad rows are counted, listed and skipped, or stop the run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fastconcept as fc
from fastconcept.datasets.dataset import open_dataset, read_label_names
from fastconcept.datasets.embed import embed, embed_all
from fastconcept.datasets.masks import Mask
from fastconcept.engine import Engine
from fastconcept.errors import InputError, MissingDependencyError


def picture(path: Path, size: tuple[int, int] = (40, 30)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (*size[::-1], 3), np.uint8)).save(path)
    return path


@pytest.fixture
def engine(tiny_bundle: Path) -> Engine:
    return fc.load(tiny_bundle)


def test_image_folder(tmp_path: Path) -> None:
    for name in ("cat.n.01/a.png", "cat.n.01/deep/b.png", "dog.n.01/c.png", "loose.png"):
        picture(tmp_path / name)
    (tmp_path / "dog.n.01/notes.txt").write_text("not an image")
    items = open_dataset(tmp_path).items
    assert [(item.name, item.label) for item in items] == [
        ("cat.n.01/a.png", "cat.n.01"),
        ("cat.n.01/deep/b.png", "cat.n.01"),
        ("dog.n.01/c.png", "dog.n.01"),
        ("loose.png", None),
    ]


def test_coco(tmp_path: Path) -> None:
    document = {
        "images": [{"id": 7, "file_name": "a.png", "width": 40, "height": 30}, {"id": 9, "file_name": "b.png"}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 2, 10, 20], "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 5, 5], "iscrowd": 1},
            {"id": 3, "image_id": 7, "category_id": 99, "bbox": [0, 0, 5, 5]},
            {"id": 4, "image_id": 8, "category_id": 1, "bbox": [0, 0, 5, 5]},
            {"id": 5, "image_id": 9, "category_id": 1, "bbox": [3, 3, 0, 5]},
            {"id": 6, "image_id": 9, "caption": "two dogs"},
            {"id": 7, "image_id": [7], "category_id": 1, "bbox": [0, 0, 5, 5]},
            {"id": 8, "image_id": 7, "category_id": {}, "bbox": [0, 0, 5, 5]},
        ],
    }
    path = tmp_path / "instances.json"
    path.write_text(json.dumps(document))
    dataset = open_dataset(path, images=tmp_path / "pictures")
    first, second = dataset.items
    assert first.boxes == ((1.0, 2.0, 11.0, 22.0),) and first.box_labels == ("dog",)
    assert first.image == tmp_path / "pictures/a.png"
    assert second.boxes == () and second.captions == ("two dogs",)
    assert [reason.split()[1] for _, reason in dataset.bad] == ["the", "to", "an", "to", "the"]
    with pytest.raises(InputError, match="annotation 3"):
        open_dataset(path, strict=True)


def test_coco_masks(tmp_path: Path) -> None:
    polygon, crowd = [[1, 1, 9, 1, 9, 9]], {"size": [30, 40], "counts": [0, 1200]}
    document = {
        "images": [{"id": 7, "file_name": "a.png"}],
        "categories": [{"id": 1, "name": "dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {"id": 1, "image_id": 7, "category_id": 1, "bbox": [1, 1, 8, 8], "segmentation": polygon, "iscrowd": 0},
            {"id": 2, "image_id": 7, "category_id": 1, "bbox": [0, 0, 40, 30], "segmentation": crowd, "iscrowd": 1},
            {"id": 3, "image_id": 7, "category_id": 2, "segmentation": crowd},
        ],
    }
    (tmp_path / "instances.json").write_text(json.dumps(document))
    item = open_dataset(tmp_path / "instances.json").items[0]
    assert item.boxes == ((1, 1, 9, 9),) and item.box_labels == ("dog",)
    assert item.masks == (Mask("dog", polygon), Mask("dog", crowd, ignored=True), Mask("cat", crowd))
    renamed = open_dataset(tmp_path / "instances.json").relabelled({"dog": "dog.n.01"}).items[0]
    assert [mask.label for mask in renamed.masks] == ["dog.n.01", "dog.n.01", "cat"]


def test_a_directory_of_masks_mirrors_the_images(tmp_path: Path) -> None:
    for name in ("data/cat/a.jpg", "data/cat/b.jpg", "masks/cat/a.png"):
        picture(tmp_path / name)
    first, second = open_dataset(tmp_path / "data", masks=tmp_path / "masks").items
    assert first.masks == (Mask("cat", tmp_path / "masks/cat/a.png"),) and second.masks == ()
    assert [item.name for item in open_dataset(tmp_path / "data", masks=tmp_path / "masks").with_objects().items] == [
        "cat/a.jpg"
    ]
    with pytest.raises(InputError, match="has a box or a mask"):
        open_dataset(tmp_path / "data").with_objects()
    with pytest.raises(InputError, match="no directory of masks"):
        open_dataset(tmp_path / "data", masks=tmp_path / "absent")


def test_a_sample_and_the_rest(tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", np.eye(7, 32, dtype=np.float32))
    dataset = open_dataset(tmp_path / "rows.npy")
    chosen, rest = ([item.row for item in dataset.sample(count, seed=3).items] for count in (3, -3))
    assert len(chosen) == 3 and sorted(chosen + rest) == list(range(7)) and rest == sorted(rest)
    for count in (0, -7):
        with pytest.raises(InputError, match="empty"):
            dataset.sample(count)


def test_cub(tmp_path: Path) -> None:
    (tmp_path / "images.txt").write_text("1 001.Laysan_Albatross/x.jpg\n2 002.Crow/y.jpg\n3 002.Crow/z.jpg\n")
    (tmp_path / "bounding_boxes.txt").write_text("1 60.0 27.0 325.0 304.0\n2 1.0 2.0 3.0 4.0\n")
    (tmp_path / "classes.txt").write_text("1 001.Laysan_Albatross\n2 002.Crow\n")
    (tmp_path / "image_class_labels.txt").write_text("1 1\n2 2\n3 2\n")
    (tmp_path / "train_test_split.txt").write_text("1 0\n2 1\n3 1\n")
    mask = picture(tmp_path / "segmentations/001.Laysan_Albatross/x.png")
    dataset = open_dataset(tmp_path)
    assert [item.masks for item in dataset.items] == [(Mask("Laysan Albatross", mask),), ()]
    assert dataset.items[0].label == "Laysan Albatross" and dataset.items[0].boxes == ((60.0, 27.0, 385.0, 331.0),)
    assert [item.name for item in dataset.where(split="train").items] == ["002.Crow/y.jpg"]
    assert list(dataset.bad) == [("002.Crow/z.jpg", "has no line in bounding_boxes.txt")]


def test_csv_with_and_without_a_header(tmp_path: Path) -> None:
    plain, headed = tmp_path / "plain.csv", tmp_path / "headed.csv"
    plain.write_text("a.png,dog,1,2,3,4\na.png,cat,5,6,7,8\nb.png,dog\nc.png,dog,9,9,1,1\n")
    items = open_dataset(plain).items
    assert items[0].boxes == ((1, 2, 3, 4), (5, 6, 7, 8)) and items[0].box_labels == ("dog", "cat")
    assert [item.name for item in items] == ["a.png", "b.png"] and items[1].boxes == ()
    headed.write_text("label,path,year,caption,mask\ndog,a.png,1999,a dog,m.png\n,b.png,2004,,\n")
    first, second = open_dataset(headed, images=tmp_path / "x").items
    assert (
        first.attributes == {"year": "1999"}
        and first.captions == ("a dog",)
        and first.masks == (Mask("dog", tmp_path / "x/m.png"),)
    )
    assert second.label is None and second.value("year") == "2004"


def test_records_and_what_they_get_wrong(tmp_path: Path) -> None:
    records = [
        {
            "file": "a.png",
            "synset": "dog.n.01",
            "boxes": [[1, 2, 3, 4], [5, 5, 5, 9]],
            "captions": ["a dog"],
            "year": 7,
        },
        {"path": "b.png", "boxes": [[1, 2, 3, 4]], "box_synsets": ["cat.n.01", "dog.n.01"]},
        {"file": "c.png", "boxes": 7},
        {"file": "d.png", "captions": "a dog"},
        {"label": "dog"},
        "e.png",
    ]
    (tmp_path / "annotations.json").write_text(json.dumps(records))
    dataset = open_dataset(tmp_path)
    (item,) = dataset.items
    assert (item.label, item.boxes, item.box_labels) == ("dog.n.01", ((1, 2, 3, 4),), ("dog.n.01",))
    assert (item.captions, item.attributes, item.image) == (("a dog",), {"year": "7"}, tmp_path / "a.png")
    assert [name for name, _ in dataset.bad] == ["a.png", "b.png", "c.png", "d.png", "record 4", "record 5"]
    assert open_dataset(tmp_path, images=tmp_path / "x").items[0].image == tmp_path / "x/a.png"


@pytest.mark.parametrize(
    "content",
    ["", "path,label\n", "a.png,dog,1,2,x,4\n", "path,label,x0,y0,x1,y1\na.png,dog,nan,1,2,3\n", "path,label\n,dog\n"],
)
def test_csv_without_a_usable_row(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(content)
    with pytest.raises(InputError, match="no usable row"):
        open_dataset(path)


def test_embedding_files(tmp_path: Path) -> None:
    rows = np.eye(3, 32, dtype=np.float32)
    np.save(tmp_path / "rows.npy", rows)
    np.savez(tmp_path / "rows.npz", embeddings=rows, label=np.array(["a", "b", "b"]), year=np.array([1, 2, 3]))
    assert len(open_dataset(tmp_path / "rows.npy")) == 3
    dataset = open_dataset(tmp_path / "rows.npz")
    assert [(item.label, item.value("year")) for item in dataset.items] == [("a", "1"), ("b", "2"), ("b", "3")]
    np.savez(tmp_path / "objects.npz", embeddings=np.array([{}], dtype=object))
    np.savez(tmp_path / "flat.npz", embeddings=np.ones(3))
    np.savez(tmp_path / "short.npz", embeddings=rows, label=np.array(["a"]))
    (tmp_path / "noise.npy").write_bytes(b"\x93NUMPY rubbish")
    for name in ("objects.npz", "flat.npz", "short.npz", "noise.npy"):
        with pytest.raises(InputError, match=name):
            open_dataset(tmp_path / name)


def test_parquet_or_what_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        path.write_bytes(b"PAR1")
        with pytest.raises(MissingDependencyError, match="pyarrow"):
            open_dataset(path)
        return
    rows = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    parquet.write_table(pa.table({"embedding": rows, "label": ["a", "b", None], "year": [None, 1, 2]}), path)
    dataset = open_dataset(path)
    assert dataset.embeddings is not None and dataset.embeddings.tolist() == rows
    assert [item.label for item in dataset.items] == ["a", "b", None]
    assert [item.attributes for item in dataset.items] == [{}, {"year": "1"}, {"year": "2"}]


def test_what_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{]")
    (tmp_path / "y.json").write_text('{"a": 1}')
    (tmp_path / "z.txt").write_text("")
    for path in (tmp_path / "x.json", tmp_path / "y.json", tmp_path / "z.txt", tmp_path / "absent", tmp_path):
        with pytest.raises(InputError):
            open_dataset(path)
    with pytest.raises(InputError):
        read_label_names(tmp_path / "x.json")


def test_filters_and_samples(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("path,label,year\n" + "".join(f"{k}.png,l{k % 3},{2000 + k}\n" for k in range(30)))
    dataset = open_dataset(path)
    assert len(dataset.where(label="l1", year="200*")) == 3
    small, large = dataset.sample(5, seed=2), dataset.sample(9, seed=2)
    assert {item.name for item in small.items} < {item.name for item in large.items}
    assert [i.name for i in large.items] == sorted((i.name for i in large.items), key=lambda n: int(n[:-4]))
    assert dataset.relabelled({"l1": "dog.n.01"}).items[1].label == "dog.n.01"
    for wrong in ({"year": "1*"}, {"colour": "red"}):
        with pytest.raises(InputError, match="matches"):
            dataset.where(**wrong)


def test_unreadable_images_are_counted_and_skipped(engine: Engine, tmp_path: Path) -> None:
    picture(tmp_path / "a/good.png")
    (tmp_path / "a/empty.png").write_bytes(b"")
    (tmp_path / "a/text.png").write_text("not an image")
    dataset = open_dataset(tmp_path)
    seen: list[tuple[int, int]] = []
    items, rows, bad = embed_all(engine, dataset, lambda done, total: seen.append((done, total)))
    assert [item.name for item in items] == ["a/good.png"] and rows.shape == (1, 32) and seen[-1] == (3, 3)
    assert sorted(name for name, _ in bad) == ["a/empty.png", "a/text.png"]
    np.testing.assert_array_equal(rows, engine.encode_image([tmp_path / "a/good.png"]))
    with pytest.raises(InputError, match="strict"):
        embed_all(engine, open_dataset(tmp_path, strict=True))


def test_embeddings_are_made_unit_rows_and_bad_ones_skipped(engine: Engine, tmp_path: Path) -> None:
    rows = np.random.default_rng(0).standard_normal((5, 32)).astype(np.float32)
    rows[1], rows[3, 4] = 0, np.nan
    np.savez(tmp_path / "rows.npz", embeddings=rows)
    dataset = open_dataset(tmp_path / "rows.npz")
    batches = list(embed(engine, dataset, batch_size=2))
    assert [item.row for batch in batches for item in batch.items] == [0, 2, 4]
    np.testing.assert_allclose(np.linalg.norm(np.concatenate([batch.rows for batch in batches]), axis=1), 1, rtol=1e-6)
    assert [name for batch in batches for name, _ in batch.bad] == ["rows.npz[1]", "rows.npz[3]"]
    np.savez(tmp_path / "wide.npz", embeddings=np.ones((2, 33)))
    with pytest.raises(InputError, match="33 columns"):
        embed_all(engine, open_dataset(tmp_path / "wide.npz"))
