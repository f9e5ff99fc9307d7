"""Training photographs as flat uint8 arrays on disk: decoded once, cropped from memory ever after."""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .regions import STEP, load_region_logits

SIDE, SMALL_SIDE = 128, 64
TINY_IMAGENET = 14


class Rows:
    """Several arrays of equal rows as one; only the rows asked for are read.

    Parameters
    ----------
    arrays : sequence of ndarray
        With equal shapes but for the first axis; memory maps as a rule.
    """

    def __init__(self, arrays: Sequence[NDArray[Any]]) -> None:
        self._arrays = list(arrays)
        self._starts = np.concatenate([[0], np.cumsum([len(array) for array in self._arrays])])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Return the rows at ascending positions."""
        cuts = np.searchsorted(rows, self._starts)
        parts = [
            array[rows[low:high] - start]
            for array, start, low, high in zip(self._arrays, self._starts, cuts, cuts[1:], strict=False)
        ]
        return np.concatenate(parts)


@dataclass
class Photos:
    """Square photographs and what is known of each.

    Attributes
    ----------
    large : Rows of uint8 (n, 128, 128, 3)
        Centre squares of the training pack and of further collections.
    probabilities : Rows of float16 (n, 1000)
        Teacher's class probabilities of the whole square, mixed with the true label where there is one.
    regions : Rows of int8 (n, 49, 1000)
        The teacher's class evidence per cell, in steps (:mod:`.regions`).
    small : ndarray of uint8 (m, 64, 64, 3)
        Photographs of Tiny ImageNet.
    small_classes : ndarray of int16 (m,)
        Their ImageNet-1k classes.
    """

    large: Rows
    probabilities: Rows
    regions: Rows
    small: NDArray[np.uint8]
    small_classes: NDArray[np.int16]


def load_photos(
    shared: Path,
    out: Path,
    tiny_repository: Path | None,
    class_wnids: list[str],
    more: Path | None = None,
    device: str = "cpu",
) -> Photos:
    """Decode and label the training pack, or map the arrays that an earlier call wrote under `out`.

    Parameters
    ----------
    shared : Path
        Directory with ``train/``.
    out : Path
        Working directory; the arrays are some 0.6 GB, 1.8 GB with all of Tiny ImageNet.
    tiny_repository : Path or None
        A git directory whose head holds ``.../train/{wnid}/images/*.JPEG``. Without one, the Tiny ImageNet images of
        the pack are used.
    class_wnids : list of str
        WordNet ids of the 1000 classes in their order.
    more : Path or None
        Directory of further photographs: ``part-*.npy``, uint8 (n, 128, 128, 3), each with a ``.json`` beside it whose
        list ``group`` may name the WordNet id of each. What shows an evaluation photograph must not be among them
        (:func:`seen_in_evaluation`). Parts that arrive later are taken up when training is resumed.
    device : str
        Where the teacher labels photographs.
    """
    if not (out / "photos.done").exists():
        _decode(shared, out, tiny_repository, class_wnids)
        (out / "photos.done").touch()
    pack = {name: np.load(out / f"photos_{name}.npy", mmap_mode="r") for name in ("large", "probabilities")}
    large, probabilities = [pack["large"]], [pack["probabilities"]]
    regions = [load_region_logits(shared, out / "regions.npy", pack["large"], device)]
    for part in sorted(more.glob("part-*.npy")) if more is not None else []:
        large.append(np.load(part, mmap_mode="r"))
        regions.append(load_region_logits(shared, out / f"regions_{part.stem}.npy", large[-1], device))
        probabilities.append(_whole_labels(out / f"labels_{part.stem}.npy", part, regions[-1], class_wnids))
    small = (np.load(out / f"photos_{name}.npy", mmap_mode="r") for name in ("small", "small_classes"))
    return Photos(Rows(large), Rows(probabilities), Rows(regions), *small)


def _whole_labels(path: Path, part: Path, regions: NDArray[np.int8], class_wnids: list[str]) -> NDArray[np.float16]:
    """Return class probabilities of whole photographs: the teacher's, and the true label where the group is one."""
    if not path.exists():
        class_of = {wnid: i for i, wnid in enumerate(class_wnids)}
        groups = json.loads(part.with_suffix(".json").read_text())["group"]
        true = np.array([class_of.get(group, -1) for group in groups], np.int16)
        rows = np.empty((len(regions), 1000), np.float16)
        for start in range(0, len(regions), 256):
            logits = STEP * np.asarray(regions[start : start + 256], np.float32).mean(1)
            chances = np.exp(logits - logits.max(1, keepdims=True))
            rows[start : start + 256] = with_true_label(
                chances / chances.sum(1, keepdims=True), true[start : start + 256]
            )
        np.save(path, rows)
    return np.load(path, mmap_mode="r")


def soft_labels(
    index: NDArray[np.uint16], probability: NDArray[np.float16], true: NDArray[np.int16]
) -> NDArray[np.float16]:
    """Spread the ten best classes of each row over all 1000; a true label takes 0.3 of the mass."""
    rows = np.zeros((len(index), 1000), np.float32)
    np.put_along_axis(rows, index.astype(np.int64), probability.astype(np.float32), 1)
    rows += np.maximum(0, 1 - rows.sum(1, keepdims=True)) / 1000
    return with_true_label(rows, true)


def with_true_label(rows: NDArray[np.float32], true: NDArray[np.int16]) -> NDArray[np.float16]:
    """Give a true label 0.3 of the mass of its row; -1 is no label."""
    known = np.flatnonzero(true >= 0)
    rows[known] *= 0.7
    rows[known, true[known]] += 0.3
    return rows.astype(np.float16)


def _centre_square(image: Image.Image, side: int) -> NDArray[np.uint8]:
    short = min(image.size)
    left, top = (image.width - short) / 2, (image.height - short) / 2
    box = (left, top, left + short, top + short)
    return np.asarray(image.convert("RGB").resize((side, side), Image.Resampling.BICUBIC, box=box))


def _decode(shared: Path, out: Path, tiny_repository: Path | None, class_wnids: list[str]) -> None:
    with np.load(shared / "train" / "labels.npz") as archive:
        labels = {name: archive[name] for name in ("keys", "source", "true_index", "topk_idx", "topk_prob")}
    row_of = {key.decode(): row for row, key in enumerate(labels["keys"])}
    is_small = labels["source"] == TINY_IMAGENET
    rows = np.flatnonzero(~is_small)
    place = {int(row): i for i, row in enumerate(rows)}
    large = np.zeros((len(rows), SIDE, SIDE, 3), np.uint8)
    small: list[NDArray[np.uint8]] = []
    small_classes: list[int] = []
    for name, data in _shard_members(shared / "train"):
        row = row_of[name]
        image = Image.open(io.BytesIO(data))
        if not is_small[row]:
            large[place[row]] = _centre_square(image, SIDE)
        elif tiny_repository is None:
            small.append(_centre_square(image, SMALL_SIDE))
            small_classes.append(int(labels["true_index"][row]))
    if tiny_repository is not None:
        class_of = {wnid: i for i, wnid in enumerate(class_wnids)}
        for wnid, data in _git_images(tiny_repository):
            if wnid in class_of:
                small.append(_centre_square(Image.open(io.BytesIO(data)), SMALL_SIDE))
                small_classes.append(class_of[wnid])
    small_array = np.stack(small)
    keep = ~seen_in_evaluation(small_array, shared / "data" / "dev")
    np.save(out / "photos_large.npy", large)
    np.save(
        out / "photos_probabilities.npy",
        soft_labels(labels["topk_idx"][rows, 0], labels["topk_prob"][rows, 0], labels["true_index"][rows]),
    )
    np.save(out / "photos_small.npy", small_array[keep])
    np.save(out / "photos_small_classes.npy", np.asarray(small_classes, np.int16)[keep])


def pack_photos(shared: Path) -> Iterator[tuple[str, bytes]]:
    """Yield name and JPEG file of every photograph of the training pack but those of Tiny ImageNet."""
    with np.load(shared / "train" / "labels.npz") as archive:
        source = {key.decode(): int(number) for key, number in zip(archive["keys"], archive["source"], strict=True)}
    for name, data in _shard_members(shared / "train"):
        if source[name] != TINY_IMAGENET:
            yield name, data


def _shard_members(folder: Path) -> Iterator[tuple[str, bytes]]:
    for shard in sorted(folder.glob("shard-*.tar")):
        with tarfile.open(shard) as archive:
            for member in archive:
                stream = archive.extractfile(member)
                if stream is not None:
                    yield Path(member.name).stem, stream.read()


def _git_images(repository: Path) -> Iterator[tuple[str, bytes]]:
    listing = subprocess.run(
        ["git", "-C", str(repository), "ls-tree", "-r", "HEAD"], capture_output=True, text=True, check=True
    )
    wanted = []
    for line in listing.stdout.splitlines():
        info, _, path = line.partition("\t")
        parts = path.split("/")
        if "train" in parts and path.endswith(".JPEG"):
            wanted.append((parts[parts.index("train") + 1], info.split()[2]))
    reader = subprocess.Popen(
        ["git", "-C", str(repository), "cat-file", "--batch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert reader.stdin is not None and reader.stdout is not None
    for wnid, blob in wanted:
        reader.stdin.write(f"{blob}\n".encode())
        reader.stdin.flush()
        size = int(reader.stdout.readline().split()[2])
        yield wnid, reader.stdout.read(size)
        reader.stdout.read(1)
    reader.stdin.close()
    reader.wait()


def difference_hash(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return the 64-bit difference hash (9 x 8 grey means) of each square image."""
    hashes = np.empty(len(images), np.uint64)
    weights = np.uint64(1) << np.arange(64, dtype=np.uint64)
    for i, image in enumerate(images):
        grey = np.asarray(Image.fromarray(image).convert("L").resize((9, 8), Image.Resampling.LANCZOS), np.int16)
        hashes[i] = (weights * (grey[:, 1:] > grey[:, :-1]).ravel().astype(np.uint64)).sum()
    return hashes


def seen_in_evaluation(images: NDArray[np.uint8], dev: Path, distance: int = 6) -> NDArray[np.bool_]:
    """Tell which images are near-duplicates of an evaluation image (its centre square, or the whole of it squeezed)."""
    references = []
    for path in sorted((dev / "images").glob("*.jpg")):
        with Image.open(path) as image:
            whole = image.convert("RGB")
            references.append(_centre_square(whole, SMALL_SIDE))
            references.append(np.asarray(whole.resize((SMALL_SIDE, SMALL_SIDE), Image.Resampling.LANCZOS)))
    known = difference_hash(np.stack(references))
    mine = difference_hash(images)
    bits = np.array([bin(i).count("1") for i in range(1 << 16)], np.uint8)
    seen = np.zeros(len(images), bool)
    for reference in known:
        other = mine ^ reference
        apart = sum(bits[(other >> np.uint64(shift)) & np.uint64(0xFFFF)].astype(np.int16) for shift in (0, 16, 32, 48))
        seen |= apart <= distance
    return seen
