"""Data as people really have them: every row is read rightly, or is a bad row, or the file is refused in one line."""

from __future__ import annotations

import json
import os
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastconcept as fc
from fastconcept.cli import run
from fastconcept.datasets.dataset import open_dataset, read_label_names
from fastconcept.datasets.images import IMAGE_SUFFIXES, find_images
from fastconcept.datasets.items import BadRows
from fastconcept.encoders.decode import FORMATS
from fastconcept.errors import InputError
from fastconcept.evaluate.cases import find_cases
from fastconcept.pages.document import Report
from fastconcept.pages.tables import Table


def photo(path: Path, width: int = 60, height: int = 40, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)).save(path, **options)
    return path


def coco(folder: Path, annotations: list[dict[str, Any]], **image: Any) -> Path:
    path = folder / "annotations.json"
    images = [{"id": 1, "file_name": "a.jpg", **image}]
    document = {"images": images, "categories": [{"id": 7, "name": "dog"}], "annotations": annotations}
    path.write_text(json.dumps(document))
    return path


@pytest.mark.parametrize("orientation", [1, 5, 6, 7, 8])
@pytest.mark.parametrize("stored", [True, False])
def test_annotations_of_a_turned_photograph(orientation: int, stored: bool, tmp_path: Path) -> None:
    """Boxes and masks lie on the object, whether they were drawn on the stored pixels or on the upright ones."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.full((40, 60, 3), 60, np.uint8)
    pixels[4:14, 8:38] = (250, 250, 250)
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    upright = fc.load().load_image(tmp_path / "a.png")
    seen = pixels if stored else upright
    rows, columns = np.nonzero(seen[..., 0] > 200)
    x0, y0, x1, y1 = (int(side) for side in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    entry: dict[str, Any] = {"image_id": 1, "category_id": 7, "bbox": [x0, y0, x1 - x0, y1 - y0]}
    entry["segmentation"] = [[x0, y0, x1, y0, x1, y1, x0, y1]]
    size = {"width": str(seen.shape[1]), "height": float(seen.shape[0]), "file_name": "a.png"}
    bad = BadRows()
    [(_, image, [case])] = find_cases(fc.load(), open_dataset(coco(tmp_path, [entry], **size)), bad)
    x0, y0, x1, y1 = map(int, case.boxes[0])
    assert (image[y0:y1, x0:x1] > 200).all() and (x1 - x0) * (y1 - y0) == 300 and not bad.rows
    assert case.mask is not None and np.array_equal(case.mask == 1, image[..., 0] > 200)


@pytest.mark.parametrize(
    ("size", "fits"), [((60, 40), True), ((40, 60), False), ((80, 60), False), ((None, "x"), True)]
)
def test_annotations_of_a_photograph_of_another_size(size: tuple[Any, Any], fits: bool, tmp_path: Path) -> None:
    photo(tmp_path / "a.jpg")
    box = {"image_id": 1, "category_id": 7, "bbox": [0, 0, 20, 20]}
    dataset = open_dataset(coco(tmp_path, [box], width=size[0], height=size[1]))
    bad = BadRows()
    if fits:
        assert len(list(find_cases(fc.load(), dataset, bad))) == 1 and not bad.rows
        return
    with pytest.raises(InputError, match="nothing to localise"):
        list(find_cases(fc.load(), dataset, bad))
    assert "is annotated as" in bad.rows[0].reason


def test_a_polygon_that_is_none_costs_only_itself(tmp_path: Path) -> None:
    square = [1, 1, 9, 1, 9, 9, 1, 9]
    shapes = [[square, [1, 2, 3, 4]], [[1, 2]], [square, None, [1, 2, 3, 4, 5, float("nan")]], [square]]
    annotations = [{"image_id": 1, "category_id": 7, "bbox": [1, 1, 8, 8], "segmentation": shape} for shape in shapes]
    dataset = open_dataset(coco(tmp_path, annotations))
    assert [mask.source for mask in dataset.items[0].masks] == [[square]] * 3
    assert len(dataset.items[0].boxes) == 4 and len(dataset.bad) == 3


def test_ids_that_are_almost_equal_and_ids_of_two_images(tmp_path: Path) -> None:
    square = [1, 1, 9, 1, 9, 9, 1, 9]  # without the list around it
    entry = {"image_id": "1", "category_id": 7.0, "bbox": [1, 1, 8, 8], "segmentation": square}
    [item] = open_dataset(coco(tmp_path, [entry])).items
    assert item.box_labels == ("dog",) and item.masks[0].source == [square]
    path = coco(tmp_path, [entry])
    document = json.loads(path.read_text())
    for key, other in (("images", {"id": 1, "file_name": "b.jpg"}), ("categories", {"id": 7, "name": "cat"})):
        path.write_text(json.dumps(document | {key: [*document[key], other]}))
        with pytest.raises(InputError, match="is that of"):
            open_dataset(path)
        path.write_text(json.dumps(document | {key: [*document[key], {"id": 8, **dict.fromkeys(other, None)}]}))
        with pytest.raises(InputError, match=f"{key} need an 'id'"):
            open_dataset(path)


def test_crowds_by_any_spelling(tmp_path: Path) -> None:
    square = [[1, 1, 9, 1, 9, 9, 1, 9]]
    values = [0, "0", False, None, 1, "1", True, "no", [1]]
    annotations = [{"image_id": 1, "category_id": 7, "segmentation": square, "iscrowd": value} for value in values]
    dataset = open_dataset(coco(tmp_path, annotations))
    assert [mask.ignored for mask in dataset.items[0].masks] == [False] * 4 + [True] * 3
    assert len([row for row in dataset.bad if "iscrowd" in row.reason]) == 2


def test_image_folders_that_are_not_what_they_seem(tmp_path: Path) -> None:
    photo(tmp_path / "data/cat/1.png")
    (tmp_path / "data/cat/2.heic").write_bytes(b"x")
    (tmp_path / "data/cat/3.png").symlink_to("nowhere.png")
    (tmp_path / "data/circle").symlink_to("circle")
    dataset = open_dataset(tmp_path / "data")
    assert [item.name for item in dataset.items] == ["cat/1.png"]
    assert [row.name for row in dataset.bad] == ["cat/2.heic", "cat/3.png"]
    for split in ("train", "Val"):
        photo(tmp_path / "splits" / split / "cat/1.png")
    with pytest.raises(InputError, match=r"give .*splits/Val"):
        open_dataset(tmp_path / "splits")
    with pytest.raises(InputError, match="no dataset at"):
        open_dataset("")


def test_null_is_no_word(tmp_path: Path) -> None:
    records = [
        {"file": "a.png", "label": None, "boxes": [[1, 2, 3, 4]], "box_labels": [None], "captions": ["x", None]},
        {"file": "b.png", "label": 0, "boxes": [[1, 2, 3, 4]], "mask": "m.png"},
        {"file": "c.png", "label": ["cat"]},
        {"file": "d.png", "captions": [{}]},
        {"file": "e.png", "mask": 3},
    ]
    (tmp_path / "r.json").write_text(json.dumps(records))
    dataset = open_dataset(tmp_path / "r.json")
    [first, second] = dataset.items
    assert (first.label, first.box_labels, first.captions) == (None, ("",), ("x",))
    assert (second.label, second.box_labels, second.masks[0].label) == ("0", ("0",), "0")
    assert len(dataset.bad) == 3
    dataset = open_dataset(coco(tmp_path, [{"image_id": 1, "caption": None}]))
    assert not dataset.items[0].captions and len(dataset.bad) == 1


@pytest.mark.parametrize(
    ("text", "labels", "bad"),
    [
        ("path;label\na.png;cat\n", ["cat"], ""),
        ("Path\tClass\na,b.png\tcat\n", ["cat"], ""),
        ("path,label\na.png,cat\na.png,dog\n", ["cat"], "another label"),
        ("path,label,x0,y0,x1,y1\na.png,cat,1,2,3,4\na.png,dog,0,0,2,2\n", ["cat"], ""),
        ("path,label,x0,y0,x1,y1\na.png,cat,.1,.2,.5,1\nb.png,dog,0,0,2,2\n", ["dog"], "first pixel"),
    ],
)
def test_tables_that_would_be_misunderstood(text: str, labels: list[str], bad: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    dataset = open_dataset(tmp_path / "t.csv")
    assert [item.label for item in dataset.items] == labels
    assert len(dataset.bad) == bool(bad) and all(bad in row.reason for row in dataset.bad)


def test_a_quote_that_is_never_closed(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('path,label\n"a.png,cat\nb.png,dog\n')
    with pytest.raises(InputError, match="cannot be read as CSV"):
        open_dataset(tmp_path / "t.csv")


def test_what_systems_leave_behind_is_no_image(tmp_path: Path) -> None:
    for name in ("cat/1.JPG", "cat/2.jfif", "dog/3.png"):
        photo(tmp_path / "data" / name, format="JPEG")
    for name in (".cache/1.jpg", "__MACOSX/cat/1.jpg", "cat/._1.jpg", "cat/@eaDir/1.jpg", "cat/.hidden.png"):
        photo(tmp_path / "data" / name, format="JPEG")
    (tmp_path / "elsewhere").mkdir()
    photo(tmp_path / "elsewhere/4.png")
    (tmp_path / "data/bird").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "data/dog/circle").symlink_to(tmp_path / "data", target_is_directory=True)
    dataset = open_dataset(tmp_path / "data")
    assert [(item.name, item.label) for item in dataset.items] == [
        ("bird/4.png", "bird"),
        ("cat/1.JPG", "cat"),
        ("cat/2.jfif", "cat"),
        ("dog/3.png", "dog"),
    ]
    assert len(find_images(tmp_path / "data/cat")) == 2


def test_no_ending_of_a_format_that_is_read_is_dropped() -> None:
    Image.init()
    registered = {suffix for suffix, name in Image.registered_extensions().items() if name in FORMATS}
    assert registered == IMAGE_SUFFIXES & set(Image.registered_extensions())


@pytest.mark.parametrize(
    "text",
    [
        "Path, Label ,X0,Y0,X1,Y1\na.png, dog ,1,2,11,22\n",
        "\ufefffilename,class,xmin,ymin,xmax,ymax,width,height\na.png,dog,1,2,11,22,60,40\n",
        "label,x,y,w,h,file\ndog,1,2,10,20,a.png\n",
        "file_name,label,x,y,width,height\na.png,dog,1,2,10,20\n",
        "a.png,dog,1,2,11,22\n",
    ],
)
def test_headers_of_tables(text: str, tmp_path: Path) -> None:
    path = tmp_path / "TABLE.CSV"
    path.write_text(text, encoding="utf-8")
    [item] = open_dataset(path).items
    assert (item.name, item.label, item.boxes, item.box_labels) == ("a.png", "dog", ((1, 2, 11, 22),), ("dog",))
    assert item.attributes.get("width") in (None, "60")


@pytest.mark.parametrize("text", ["path,label,label\na,b,c\n", "path,path\na,b\n", "path\n", "", "\udcff,b\n"])
def test_tables_that_are_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InputError):
        open_dataset(tmp_path / "t.csv")


def damaged_archives(folder: Path) -> list[Path]:
    rows = np.random.default_rng(0).standard_normal((40, 8)).astype(np.float32)
    np.savez_compressed(folder / "whole.npz", embeddings=rows)
    whole = (folder / "whole.npz").read_bytes()
    paths = []
    for k, content in enumerate(
        (whole[:200], whole[:-30], whole[:60] + b"\xff" * 40 + whole[100:], b"PK\x03\x04", b"")
    ):
        (folder / f"{k}.npz").write_bytes(content)
        paths.append(folder / f"{k}.npz")
    with zipfile.ZipFile(folder / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        header = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (1000000, 128), }"
        archive.writestr("embeddings.npy", header.ljust(127) + b"\n" + bytes(300 << 20))
    (folder / "huge.npy").write_bytes(header.replace(b"1000000", b"9" * 30).ljust(127) + b"\n" + bytes(64))
    (folder / "deep.npy").write_bytes(b"\x93NUMPY\x02\x00\x10\x27\x00\x00" + b"(" * 10000)
    return [*paths, folder / "bomb.npz", folder / "huge.npy", folder / "deep.npy"]


def test_damaged_archives(tmp_path: Path) -> None:
    for path in damaged_archives(tmp_path):
        with pytest.raises(InputError, match=path.name):
            open_dataset(path)
    os.rename(tmp_path / "whole.npz", tmp_path / "WHOLE.NPZ")
    assert len(open_dataset(tmp_path / "WHOLE.NPZ")) == 40


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "\udcff", '[{"file": 1}]', '[{"file": "a", "boxes": null}]', "[]", "null", "9" * 5000]
)
def test_json_that_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    for read in (open_dataset, read_label_names):
        with pytest.raises(InputError):
            read(path)


@pytest.mark.parametrize("box", [None, "1234", {"1": 1, "2": 2, "3": 3, "4": 4}, [1, 2, 3, 10**400], [[1], 2, 3, 4], 5])
def test_boxes_that_are_none(box: Any, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"file": "a", "boxes": [box, [1, 2, 3, 4]]}]))
    dataset = open_dataset(tmp_path / "a.json")
    assert dataset.items[0].boxes == ((1, 2, 3, 4),) and len(dataset.bad) == 1


def test_many_bad_rows_take_no_longer_each(tmp_path: Path) -> None:
    names = "\n".join(f"{k}.png,dog" for k in range(20_000))
    (tmp_path / "t.csv").write_text(names)
    dataset = open_dataset(tmp_path / "t.csv")
    began = time.perf_counter()
    bad = dataset.bad_rows()
    for item in dataset.items:
        bad.add(item.name, "is bad")
    assert time.perf_counter() - began < 5 and len(bad.rows) == 20_000


def test_files_of_evaluate_that_are_not_what_they_should_be(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = photo(tmp_path / "data/dog/1.png").parent.parent
    (tmp_path / "classes.txt").write_bytes(b"caf\xe9\n")
    (tmp_path / "empty.json").write_text("[]")
    for verb in (
        ["zeroshot", "--classes", str(tmp_path / "classes.txt")],
        ["zeroshot", "--classes", str(tmp_path / "absent.txt")],
        ["ood", "--pairs", str(tmp_path / "empty.json")],
        ["ood", "--pairs", str(tmp_path / "classes.txt")],
    ):
        assert run(["evaluate", verb[0], str(data), *verb[1:]]) == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1 and verb[-1] in captured.err


def report(name: str) -> Report:
    table = Table(f"Title {name}", ["a", name], [[name, 0.5]], name)
    return Report("task", name, name, {"data": name}, [table], [], {"name": name}, [(name, name)], 1.0)


def test_markdown_shows_names_as_they_are(tmp_path: Path) -> None:
    name = "a|b`c\n# <script>alert(1)</script> [x](http://e.org) *d*\udcff"
    report(name).save(tmp_path)
    text = (tmp_path / "task.md").read_text(encoding="utf-8")
    assert "<script>" not in text.replace("`` a|b`c # <script>", "") and "](" not in text.replace("``", "")[:200]
    assert all(line.replace("\\|", "").count("|") in (0, 1, 3) for line in text.splitlines())
    assert json.loads((tmp_path / "task.json").read_text(encoding="utf-8"))["name"] == name


def test_reports_appear_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    report("one").save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    monkeypatch.setattr(Report, "to_html", lambda self: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        report("two").save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_report_in_a_place_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write into"):
        report("one").save(tmp_path / "file")
