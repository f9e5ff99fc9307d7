"""Which layout is it? A directory or file is handed to the reader that knows it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from . import embedding_files
from .coco import read_coco
from .cub import is_cub, read_cub
from .images import read_image_folder
from .items import BadRow, Item
from .records import read_csv, read_records
from .texts import read_json

Rows = Iterable[Item | BadRow]


def read_layout(source: Path, images: Path | None) -> tuple[str, Rows, npt.NDArray[np.floating] | None]:
    """The name of a layout, its rows as they are read, and embeddings where it holds them.

    Parameters
    ----------
    source : Path
        A directory or file that exists.
    images : Path or None
        Directory of the images of an annotation file; None means the file's own.

    Raises
    ------
    InputError
        If the layout is unknown or the file damaged.
    """
    if os.path.isdir(source):
        if is_cub(source):
            return "cub", read_cub(source), None
        if not os.path.isfile(source / "annotations.json"):
            return "image folder", read_image_folder(source), None
        source = source / "annotations.json"
    folder = images or source.parent
    suffix = source.suffix.lower()
    if suffix == ".json":
        return *_read_json(source, folder), None
    if suffix == ".csv":
        return "csv", read_csv(source, folder), None
    if suffix in (".npy", ".npz", ".parquet"):
        return suffix[1:], *embedding_files.read(source)
    raise InputError(f"the layout of {source} is unknown; give a directory, .json, .csv, .npy, .npz or .parquet")


def _read_json(path: Path, folder: Path) -> tuple[str, Rows]:
    document = read_json(path)
    if isinstance(document, dict) and {"images", "annotations"} <= document.keys():
        return "coco", read_coco(document, path, folder)
    if isinstance(document, list):
        return "records", read_records(document, folder)
    raise InputError(f"{path} is neither a COCO annotation file nor a list of records with a 'file' each")
