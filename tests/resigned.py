"""Bundles that somebody changed on purpose: copies of the built-in one whose manifest is true to every change."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

import fastconcept
from fastconcept.bundle import MANIFEST, find_bundle

SOURCE = find_bundle("builtin")


def link(source: str, target: str) -> None:
    """A hard link where the file system allows it: files of a bundle are replaced, never written into."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def resign(folder: Path, contents: dict[str, bytes] | None = None, **fields: Any) -> Path:
    """Lay the built-in bundle out in ``folder`` with other contents and fields, and sign it."""
    if not folder.exists():
        shutil.copytree(SOURCE, folder, copy_function=link, ignore=shutil.ignore_patterns("__pycache__"))
    document = json.loads((SOURCE / MANIFEST).read_text(encoding="utf-8"))
    for name, content in (contents or {}).items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content)
        document["files"][name] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (folder / MANIFEST).unlink(missing_ok=True)
    (folder / MANIFEST).write_text(json.dumps({**document, **fields}), encoding="utf-8")
    return folder


def use(folder: Path) -> None:
    """Open every part of a bundle, and encode, explain and decompose with it."""
    engine = fastconcept.load(folder, num_threads=1)
    picture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)
    engine.explain(picture, ["dog"], short_side=64, sizes=[32], stride=32)
    engine.decompose(picture, l0=3)
    assert len(engine.image_mean) == engine.bundle.manifest.embedding_dim
