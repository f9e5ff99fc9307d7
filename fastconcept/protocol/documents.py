"""The documents that people get as JSON: from the command line under ``--json``, and from the server."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def about_images(bundle: str, answers: Iterable[tuple[str, Mapping[str, Any]]], **common: Any) -> dict[str, Any]:
    """What is said about some images, one entry each, with what is common to them.

    Examples
    --------
    >>> about_images("lite0", [("cat.jpg", {"l0": 3})], device="cpu")
    {'bundle': 'lite0', 'device': 'cpu', 'images': [{'image': 'cat.jpg', 'l0': 3}]}
    """
    images = [{"image": name, **answer} for name, answer in answers]
    return {"bundle": bundle, **common, "images": images}


def refusal(kind: str, message: str) -> dict[str, Any]:
    """An error: the name of its type, and what it says.

    Examples
    --------
    >>> refusal("InputError", "top must be from 1 to 1000 concepts, got 0")
    {'error': {'type': 'InputError', 'message': 'top must be from 1 to 1000 concepts, got 0'}}
    """
    return {"error": {"type": kind, "message": message}}
