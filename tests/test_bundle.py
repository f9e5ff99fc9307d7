"""Bundles: what is read back is what was written, and nothing damaged, newer or hostile gets through."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastconcept.bundle import MANIFEST, SCHEMA_VERSION, Bundle, Manifest, Preprocess, find_bundle, installed_bundles
from fastconcept.errors import BundleError

CONTENT = {
    "image_encoder.onnx": b"image",
    "text_encoder.onnx": b"text",
    "tokenizer.json": b"{}",
    "banks/a.safetensors": b"bank",
}


def make_bundle(path: Path, **changes: Any) -> Path:
    """A bundle of stand-in files; ``changes`` replace fields of its manifest's JSON."""
    files = {}
    for name, content in CONTENT.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
        files[name] = (hashlib.sha256(content).hexdigest(), len(content))
    manifest = Manifest(
        model="ViT-B-32",
        pretrained="tag",
        embedding_dim=8,
        context_length=77,
        logit_scale=100.0,
        preprocess=Preprocess((224, 224), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        image_encoder="image_encoder.onnx",
        text_encoder="text_encoder.onnx",
        tokenizer="tokenizer.json",
        tokenizer_clean="lower",
        text_length="dynamic",
        image_mean=None,
        banks={"a": "banks/a.safetensors"},
        dictionaries={},
        files=files,
    )
    document = {**json.loads(manifest.to_json()), **changes}
    (path / MANIFEST).write_text(json.dumps(document))
    return path


def test_round_trip(tmp_path: Path) -> None:
    bundle = Bundle(make_bundle(tmp_path / "b"))
    again = json.loads(bundle.manifest.to_json())
    assert again == json.loads((tmp_path / "b" / MANIFEST).read_text())
    assert bundle.bank().read_bytes() == b"bank" and bundle.bank("a") == bundle.bank()
    bundle.verify()
    with pytest.raises(BundleError, match="no concept bank 'b'; it has: a"):
        bundle.bank("b")
    with pytest.raises(BundleError, match="no dictionary; export the model again with --vocabulary"):
        bundle.dictionary()


def test_the_penalty_of_bundles_that_name_none(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "b", l1_penalty=0.4)
    assert Bundle(path).manifest.l1_penalty == 0.4
    document = json.loads((path / MANIFEST).read_text())
    del document["l1_penalty"]
    (path / MANIFEST).write_text(json.dumps(document))
    assert Bundle(path).manifest.l1_penalty == 0.25


def test_a_size_for_patches(tmp_path: Path) -> None:
    plain = Bundle(make_bundle(tmp_path / "plain")).manifest
    assert plain.preprocess.patch_size is None
    own = replace(plain, preprocess=replace(plain.preprocess, patch_size=(96, 128)))
    again = Bundle(make_bundle(tmp_path / "own", preprocess=json.loads(own.to_json())["preprocess"])).manifest
    assert again.preprocess == own.preprocess and again.preprocess.size == (224, 224)


def test_a_flipped_byte_is_found_on_first_use(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "b")
    (path / "banks/a.safetensors").write_bytes(b"bAnk")
    bundle = Bundle(path)
    with pytest.raises(BundleError, match="damaged"):
        bundle.bank()
    with pytest.raises(BundleError, match="damaged"):
        bundle.verify()


def test_missing_and_resized_files(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "b")
    (path / "tokenizer.json").write_bytes(b"{} ")
    with pytest.raises(BundleError, match="3 bytes, the manifest says 2"):
        Bundle(path)
    (path / "tokenizer.json").unlink()
    with pytest.raises(BundleError, match=r"tokenizer.json is missing"):
        Bundle(path)
    with pytest.raises(BundleError, match=r"manifest.json is missing"):
        Bundle(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "a/../../b", "..\\secret", "c:secret", "", "a\0b"])
def test_names_that_leave_the_directory(tmp_path: Path, name: str) -> None:
    path = make_bundle(tmp_path / "b", files={name: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(BundleError, match="leaves the bundle's directory"):
        Bundle(path)


def test_links_that_leave_the_directory(tmp_path: Path) -> None:
    path = make_bundle(tmp_path / "b")
    (tmp_path / "outside").write_bytes(b"{}")
    (path / "tokenizer.json").unlink()
    os.symlink(tmp_path / "outside", path / "tokenizer.json")
    with pytest.raises(BundleError, match="link out of"):
        Bundle(path)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"schema_version": SCHEMA_VERSION + 1}, "upgrade fastconcept"),
        ({"schema_version": True}, "wrong type"),
        ({"embedding_dim": 0}, "from 1 to 65536"),
        ({"embedding_dim": "8"}, "wrong type"),
        ({"tokenizer_clean": "shell"}, "expected one of"),
        ({"preprocess": {"size": [224], "mean": [0, 0, 0], "std": [1, 1, 1]}}, "2 numbers"),
        ({"preprocess": {"size": [224, 99999], "mean": [0, 0, 0], "std": [1, 1, 1]}}, "1 to 4096"),
        ({"preprocess": {"size": [224, 224], "mean": [0, 0, 0], "std": [1, 0, 1]}}, "std must be positive"),
        ({"preprocess": {"size": [8, 8], "mean": [0, 0, 0], "std": [1, 1, 1], "patch_size": 96}}, "must be a list"),
        ({"preprocess": {"size": [8, 8], "mean": [0, 0, 0], "std": [1, 1, 1], "patch_size": [8, 0]}}, "1 to 4096"),
        ({"image_mean": "absent.safetensors"}, "not listed"),
        ({"l1_penalty": 0}, "above 0 and below 2"),
        ({"l1_penalty": 2.0}, "above 0 and below 2"),
        ({"l1_penalty": "0.3"}, "wrong type"),
        ({"banks": {"a": 3}}, "map names to files"),
        ({"files": []}, "wrong type"),
    ],
)
def test_wrong_manifests(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BundleError, match=message):
        Bundle(make_bundle(tmp_path / "b", **changes))


@pytest.mark.parametrize("text", ["", "{", "[]", "[" * 100_000, "\ufeff{}"])
def test_manifests_that_are_not_objects(tmp_path: Path, text: str) -> None:
    path = make_bundle(tmp_path / "b")
    (path / MANIFEST).write_text(text)
    with pytest.raises(BundleError):
        Bundle(path)


def test_where_bundles_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTCONCEPT_BUNDLES", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = make_bundle(tmp_path / "mine")
    assert find_bundle("mine") == path and find_bundle(path) == path and path in installed_bundles()
    with pytest.raises(BundleError, match="no bundle 'yours'; looked in"):
        find_bundle("yours")
    monkeypatch.setenv("FASTCONCEPT_BUNDLE", "mine")
    assert find_bundle() == path
