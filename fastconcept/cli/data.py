"""Options that choose labelled data, shared by all verbs that read it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..datasets import dataset as datasets
from ..errors import InputError
from .options import split

_data = partial(typer.Option, rich_help_panel="Data")


WhereOption = Annotated[
    list[str] | None, _data(metavar="KEY=PATTERN", help="Use only items that match; may be repeated.")
]
ColumnsOption = Annotated[
    list[str] | None, _data(metavar="NAMES", help="Columns of the data that are kept, with commas; by default all.")
]


@dataclass(frozen=True)
class Source:
    """The data that the options describe."""

    data: Annotated[
        Path,
        typer.Argument(
            help="Images with labels (directory, .json, .csv) or embeddings (.npy, .npz, .parquet); see docs/evaluate.",
            show_default=False,
        ),
    ]
    images: Annotated[Path | None, _data(help="Directory with the images of an annotation file.")] = None
    labels: Annotated[Path | None, _data(help="JSON file that maps labels to concepts.")] = None
    where: WhereOption = None
    columns: ColumnsOption = None
    sample: Annotated[
        int | None, _data(help="Use at most N items, drawn at random; -N uses all items but those that N would draw.")
    ] = None
    strict: Annotated[bool, _data("--strict", help="Stop at the first bad row instead of counting it.")] = False
    seed: Annotated[int, _data(min=0, help="Seed of samples, controls and bootstrap.")] = 0

    def open(self, masks: Path | None = None, with_objects: bool = False) -> datasets.Dataset:
        """Read the dataset and keep the items that are asked for."""
        columns = split(self.columns, str, "--columns") if self.columns is not None else None
        dataset = datasets.open_dataset(self.data, images=self.images, masks=masks, columns=columns, strict=self.strict)
        if self.where:
            dataset = dataset.where(**patterns(self.where))
        if self.labels is not None:
            dataset = dataset.relabelled(datasets.read_label_names(self.labels))
        if with_objects:
            dataset = dataset.with_objects()
        return dataset if self.sample is None else dataset.sample(self.sample, self.seed)


def patterns(where: list[str] | None) -> dict[str, str]:
    """What ``--where`` says: columns and their shell patterns.

    Raises
    ------
    InputError
        If one of them has no ``=``.
    """
    return dict(map(_key_and_pattern, where or ()))


def _key_and_pattern(text: str) -> tuple[str, str]:
    key, equals, pattern = text.partition("=")
    if not equals:
        raise InputError(f"--where takes KEY=PATTERN, for instance subset=coco; got {text!r}")
    return key, pattern
