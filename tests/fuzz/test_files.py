"""Pictures, masks, manifests, tensors, ONNX files, tokenizers and data sets, changed at random."""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import fastconcept as fc
from fastconcept.bundle import MANIFEST, parse_manifest
from fastconcept.concepts.storage import write_tensors
from fastconcept.datasets.dataset import open_dataset
from fastconcept.datasets.masks import Mask, read_mask
from fastconcept.encoders.decode import load_image
from fastconcept.encoders.tokenizer import CLEANERS, Tokenizer
from fastconcept.sparse.dictionary import Dictionary
from fastconcept.weight_files import weight_files
from tests.fuzz.properties import changed_bytes, changed_document, inputs, odd_values, only_our_errors
from tests.resigned import SOURCE

FOLDER = Path(tempfile.mkdtemp(prefix="fastconcept-fuzz-"))


def picture(form: str, mode: str, **options: Any) -> bytes:
    stream, plane = io.BytesIO(), np.random.default_rng(0).integers(0, 255, (12, 17, 4), np.uint8)
    Image.fromarray(plane, "RGBA").convert(mode).save(stream, form, **options)
    return stream.getvalue()


def exif() -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = 6
    return tags


PICTURES = [
    *(picture("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")),
    *(picture("JPEG", mode, exif=exif()) for mode in ("L", "RGB", "CMYK")),
    *(picture("TIFF", mode, compression="tiff_lzw") for mode in ("L", "RGB")),
    *(picture(form, "RGB") for form in ("BMP", "GIF", "PPM", "WEBP", "ICO", "JPEG2000", "TIFF")),
]


def written(name: str, content: bytes) -> Path:
    path = FOLDER / name
    path.write_bytes(content)
    return path


@given(content=changed_bytes(PICTURES))
@inputs(60, 0.35)
def test_pictures(content: bytes) -> None:
    with only_our_errors():
        pixels = load_image(content)
        assert pixels.dtype == np.uint8 and pixels.shape[2:] == (3,) and pixels.size
    with only_our_errors():
        levels = read_mask(Mask("", written("mask.png", content)), 12, 17)
        assert set(np.unique(levels).tolist()) <= {0, 1, 255}


DOCUMENT = json.loads((SOURCE / MANIFEST).read_text(encoding="utf-8"))


@given(document=changed_document(DOCUMENT))
@inputs(60, 0.15)
def test_manifests(document: Any) -> None:
    with only_our_errors():
        manifest = parse_manifest(json.dumps(document))
        assert parse_manifest(manifest.to_json()) == manifest


def tensors() -> list[bytes]:
    rows = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    fc.ConceptBank(rows, phrases=["a", "b", "c", "d"]).save(FOLDER / "bank")
    Dictionary.from_embeddings(["a", "b", "c", "d"], rows).save(FOLDER / "dictionary", half=True)
    write_tensors(FOLDER / "synsets", {"embeddings": rows, "offsets": np.arange(4)}, {"kind": "synsets"})
    return [(FOLDER / name).read_bytes() for name in ("bank", "dictionary", "synsets")]


@given(content=changed_bytes(tensors()))
@inputs(40, 0.12)
def test_banks_and_dictionaries(content: bytes) -> None:
    path = written("t.safetensors", content)
    for kind in (fc.ConceptBank, Dictionary):
        with only_our_errors():
            kind.load(path)


# model { graph { initializer { data_location: EXTERNAL external_data { "location": "weights" } } } }
ONNX = b"\x3a\x1b\x2a\x19\x6a\x13\x0a\x08location\x12\x07weights\x70\x01" + b"\x08\x08"


@given(content=changed_bytes([ONNX]))
@inputs(40, 0.05)
def test_onnx_files(content: bytes) -> None:
    with only_our_errors():
        names = weight_files(written("m.onnx", content))
        assert content != ONNX or names == ["weights"]


TOKENIZER = {
    "version": "1.0",
    "truncation": None,
    "padding": {"strategy": "BatchLongest", "direction": "Left", "pad_id": 0, "pad_type_id": 0, "pad_token": "a"},
    "added_tokens": [],
    "normalizer": {"type": "Replace", "pattern": {"Regex": "x+"}, "content": "a"},
    "pre_tokenizer": {"type": "Split", "pattern": {"String": " "}, "behavior": "Removed", "invert": False},
    "post_processor": {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "s", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {"s": {"id": "s", "ids": [3], "tokens": ["s"]}},
    },
    "decoder": None,
    "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "s": 3}, "merges": [["a", "b"]], "unk_token": "a"},
}


@given(changed_document(TOKENIZER), st.text(max_size=60), st.sampled_from([*CLEANERS]), st.booleans())
@inputs(40, 0.08)
def test_tokenizers(document: Any, text: str, clean: str, dynamic: bool) -> None:
    with only_our_errors():
        tokenizer = Tokenizer(written("t.json", json.dumps(document).encode()), 7, clean, dynamic)
        ids = tokenizer([text, "ab x"])
        assert ids.shape[0] == 2 and ids.shape[1] <= 7


RECORDS = [{"file": "a.png", "label": "dog", "boxes": [[1, 2, 3, 4]], "captions": ["x"], "mask": "m.png"}] * 2
COCO = {
    "images": [{"id": 1, "file_name": "a.png", "width": 17, "height": 12}, {"id": "2", "file_name": "b.png"}],
    "categories": [{"id": 7, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 7, "bbox": [1, 2, 3, 4], "segmentation": [[0, 0, 5, 0, 5, 5]]},
        {"id": 2, "image_id": 1, "category_id": 7, "iscrowd": 1, "segmentation": {"size": [12, 17], "counts": "d6"}},
        {"id": 3, "image_id": "2", "caption": "a dog"},
    ],
}


@given(document=changed_document(COCO) | changed_document(RECORDS) | odd_values)
@inputs(60, 0.12)
def test_annotation_files(document: Any) -> None:
    path = written("annotations.json", json.dumps(document).encode())
    with only_our_errors():
        for item in open_dataset(path).items:
            for mask in item.masks:
                if not isinstance(mask.source, Path):
                    with only_our_errors():
                        read_mask(mask, 12, 17)


def archives() -> list[bytes]:
    rows = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    np.savez(FOLDER / "a.npz", embeddings=rows, label=np.array(["a", "b", "c", "d"]))
    np.savez_compressed(FOLDER / "b.npz", embeddings=rows)
    np.save(FOLDER / "c.npy", rows)
    return [(FOLDER / name).read_bytes() for name in ("a.npz", "b.npz", "c.npy")]


TABLES = [b"path,label,x0,y0,x1,y1\na.png,dog,1,2,3,4\nb.png,cat,,,,\n", b"file,class,x,y,w,h\n'a\",b,1,2,3,4\n"]


@given(st.sampled_from([".npz", ".npy", ".csv"]), changed_bytes([*archives(), *TABLES]))
@inputs(60, 0.1)
def test_tables_and_archives(ending: str, content: bytes) -> None:
    with only_our_errors():
        assert len(open_dataset(written(f"data{ending}", content)))
