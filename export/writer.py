"""Writes the files of a bundle into a directory."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle import MANIFEST, Dense, Manifest, Split, sha256_of
from ..concepts.bank import ConceptBank
from ..concepts.storage import write_tensors
from ..encoders.decode import load_image
from ..encoders.dense import DenseEncoder
from ..encoders.image_tower import ImageTower
from ..encoders.opening import open_dense_onnx, open_image_onnx, open_split_onnx, open_text_onnx
from ..encoders.split import SplitEncoder
from ..encoders.tokenizer import Tokenizer
from ..errors import ExportError, ImageError
from ..files import sync
from ..kernels import backend
from ..saliency.agreement import LEAST_PHOTOGRAPHS, measure_agreement
from ..sparse.dictionary import Dictionary
from .banks import BankPlan
from .compact import compact as compact_encoder
from .contents import Plan
from .dense.write import write_dense
from .mean import compute_image_mean, read_image_mean
from .model import Model
from .onnx import write_image_tower, write_text_tower
from .parity import (
    Original,
    check_parity,
    check_tokens,
    measure_parity,
    parity_images,
    parity_texts,
    run_original,
    same_tokens,
)
from .progress import Stages
from .shared_weights import share_weights
from .split import MapSize, check_split, write_split
from .tokenizer import check_empty_text, convert_tokenizer

IMAGE_ENCODER, TEXT_ENCODER, TOKENIZER = "image_encoder.onnx", "text_encoder.onnx", "tokenizer.json"
IMAGE_TRUNK, IMAGE_HEAD = "image_trunk.onnx", "image_head.onnx"
IMAGE_MEAN, PARITY = "image_mean.safetensors", "parity.json"
_log = logging.getLogger(__name__)
_LEAST_COSINE = 0.9999  # of the parts as written and the whole, on noise
_PARITY_PHOTOS = 32  # of mean_images, beside the synthetic pictures
_PACKAGES = ("fastconcept", "torch", "open_clip_torch", "timm", "onnx", "onnxruntime", "tokenizers", "ftfy", "regex")


class BundleWriter:
    """The files of one bundle; the methods are called in the order in which they stand here.

    Parameters
    ----------
    model : Model
    folder : Path
        An empty directory.
    stages : Stages
        Progress.
    num_threads : int, optional
        Threads of ONNX Runtime.
    compact : bool
        Store weights in 16 bits and token tables in 8.
    """

    def __init__(self, model: Model, folder: Path, stages: Stages, num_threads: int | None, compact: bool) -> None:
        self.model, self.folder, self.stages, self.num_threads = model, folder, stages, num_threads
        self.compact = compact
        self.banks: dict[str, str] = {}
        self.dictionaries: dict[str, str] = {}
        self.parity: dict[str, Any] = {}
        self.clean = "none"
        self.split: Split | None = None
        self.dense: Dense | None = None
        self.agreement: dict[str, dict[str, Any]] = {}
        self.absent: dict[str, str] = {}  # modes, and why the bundle will not have them

    def write_tokenizer(self) -> Tokenizer:
        model, path = self.model, self.folder / TOKENIZER
        self.clean = convert_tokenizer(model.tokenizer, path)
        tokenizer = Tokenizer(path, model.context_length, self.clean, model.dynamic_text)
        check_empty_text(tokenizer)
        return tokenizer

    def run_original(self, tokenizer: Tokenizer, texts: Sequence[str], photos: Sequence[Path]) -> Original:
        """What parity is measured against, before hours of work: a model that fails is refused here."""
        with self.stages.stage("original in torch"):
            images = [*parity_images(), *_readable(photos, _PARITY_PHOTOS)]
            original = run_original(self.model, images, parity_texts(texts))
            check_tokens(same_tokens(tokenizer, original))
            return original

    def write_encoders(self, tokenizer: Tokenizer) -> None:
        model, folder = self.model, self.folder
        with self.stages.stage("image encoder"):
            write_image_tower(model, folder / IMAGE_ENCODER)
            if self.compact:
                compact_encoder(folder / IMAGE_ENCODER)
            path, dim = folder / IMAGE_ENCODER, model.embedding_dim
            self.image_encoder = open_image_onnx(path, dim, num_threads=self.num_threads)
        with self.stages.stage("text encoder"):
            write_text_tower(model, folder / TEXT_ENCODER)
            if self.compact:
                compact_encoder(folder / TEXT_ENCODER)
            path = folder / TEXT_ENCODER
            self.text_encoder = open_text_onnx(path, tokenizer, dim, num_threads=self.num_threads)

    def write_split(self) -> None:
        """The image tower in two parts beside the whole, all with the same weights; left out where it has none."""
        model = self.model
        if model.parts is None:
            self.absent["windows"] = "its image tower does not pool a feature map"
            return
        trunk, head = (self.folder / name for name in (IMAGE_TRUNK, IMAGE_HEAD))
        with self.stages.stage("trunk and head"):
            try:
                size = check_split(model, model.parts)
                write_split(model.parts, size, model.preprocess.size, trunk, head)
                for path in (trunk, head) if self.compact else ():
                    compact_encoder(path)
                self._compare_parts(trunk, head, size)
            except ExportError as error:
                self._leave_out("windows", error, trunk, head)
                return
        self.split = Split(IMAGE_TRUNK, IMAGE_HEAD, None, channels=size.channels, stride=size.stride)

    def _leave_out(self, mode: str, error: ExportError, *files: Path) -> None:
        """Remove what was written for a mode, and say why the bundle will not have it."""
        for path in files:
            for leftover in (path, path.with_name(f"{path.name}.data")):
                leftover.unlink(missing_ok=True)
        self.absent[mode] = str(error)
        _log.warning("%s will have no mode %s: %s", self.model.name, mode, error)

    def write_dense(self, names: Sequence[str]) -> None:
        """The passes that embed every token, beside the image tower; those that it does not have are left out."""
        model, towers = self.model, {}
        if model.dense is None or not names:
            self.absent["dense"] = model.no_dense if names else "no dense pass was asked for at export"
            return
        for name in names:
            if name not in model.dense.modules:
                reason = f"the pass {name} is for transformers; this tower has {', '.join(model.dense.modules)}"
                self.absent[f"dense:{name}"] = reason
                continue
            path = self.folder / f"image_dense_{name}.onnx"
            with self.stages.stage(f"dense pass {name}"):
                try:
                    write_dense(model, name, path, self.compact, self.num_threads)
                except ExportError as error:
                    self._leave_out(f"dense:{name}", error, path)
                    continue
            towers[name] = path.name
        if towers:
            self.dense = Dense(towers, None, model.dense.stride)
        else:
            self.absent["dense"] = self.absent[f"dense:{names[0]}"]

    def share_image_weights(self) -> None:
        """Put the weights of the image tower, which all of its files have, into one file beside them."""
        written = [IMAGE_ENCODER]
        written += [] if self.split is None else [self.split.trunk, self.split.head]
        written += [] if self.dense is None else list(self.dense.towers.values())
        files, data = [self.folder / name for name in written], f"{IMAGE_ENCODER}.data"
        if len(files) == 1 or any(path.with_name(f"{path.name}.data").exists() for path in files):
            return
        share_weights(files, self.folder / data)
        self.split = None if self.split is None else replace(self.split, weights=data)
        self.dense = None if self.dense is None else replace(self.dense, weights=data)

    def _compare_parts(self, trunk: Path, head: Path, size: MapSize) -> None:
        """The written parts against the written whole."""
        dim = self.model.embedding_dim
        parts = open_split_onnx(trunk, head, size.channels, size.stride, dim, num_threads=self.num_threads)
        pixels = np.random.default_rng(0).standard_normal((2, 3, *self.model.preprocess.size), np.float32)
        whole = self.image_encoder.encode(pixels)
        cosine = float((parts.head.encode(parts.maps.encode(pixels).mean(axis=(2, 3))) * whole).sum(axis=1).min())
        if not cosine >= _LEAST_COSINE:
            raise ExportError(f"the parts as written differ from the whole (cosine {cosine:.6f})")

    def write_parity(self, original: Original, min_cosine: float) -> None:
        with self.stages.stage("parity with torch"):
            report = measure_parity(original, self.image_encoder, self.text_encoder, self.model.dynamic_text)
            report["tolerance"] = {"min_cosine": min_cosine}
            check_parity(report, min_cosine)
            (self.folder / PARITY).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
            self.parity = report

    def write_contents(self, plan: Plan) -> None:
        for bank in plan.banks:
            self.write_bank(bank)
        if plan.words:
            self.write_dictionary(plan.dictionary, plan.words, plan.keep)
        if plan.photos:
            self.write_image_mean(plan.photos)
        elif plan.image_mean:
            mean = read_image_mean(plan.image_mean, self.model.embedding_dim, plan.image_mean_name).mean
            self.save_tensors(IMAGE_MEAN, {"mean": mean})

    def write_bank(self, plan: BankPlan) -> None:
        with self.stages.stage(f"concept bank {plan.name}") as advance:
            embeddings = self.text_encoder.encode(plan.texts, progress=advance)
            self.banks[plan.name] = f"banks/{plan.name}.safetensors"
            (self.folder / "banks").mkdir(exist_ok=True)
            plan.bank(embeddings).save(self.folder / self.banks[plan.name], half=self.compact)

    def write_dictionary(self, name: str, words: Sequence[str], keep: str) -> None:
        with self.stages.stage(f"dictionary {name}") as advance:
            embeddings = self.text_encoder.encode(words, progress=advance)
            self.dictionaries[name] = f"dictionaries/{name}.safetensors"
            (self.folder / "dictionaries").mkdir(exist_ok=True)
            dictionary = Dictionary.from_embeddings(words, embeddings, keep)
            dictionary.save(self.folder / self.dictionaries[name], half=self.compact)

    def write_image_mean(self, photos: Sequence[Path]) -> None:
        with self.stages.stage("image mean") as advance:
            result = compute_image_mean(self.image_encoder, self.model.preprocess, photos, advance)
            if result.skipped:
                _log.warning("%d of %d images cannot be read and were left out", result.skipped, len(photos))
            counts = {"images": str(result.images), "skipped": str(result.skipped)}
            self.save_tensors(IMAGE_MEAN, {"mean": result.mean}, counts)

    def write_agreement(self, plan: Plan) -> None:
        """Measure how far the faster modes agree with crops, where there are photographs and concepts for it."""
        if not plan.banks or len(plan.photos) < LEAST_PHOTOGRAPHS or (self.split is None and self.dense is None):
            return
        kernels = backend("cpu")
        crops = ImageTower(self.image_encoder, self.model.preprocess, kernels, self.num_threads)
        towers = {"crops": crops}
        if (split := self._split_encoder()) is not None:
            towers["windows"] = replace(crops, split=split)
        towers |= {mode: replace(crops, dense=dense) for mode, dense in self._dense_encoders().items()}
        bank = ConceptBank.load(self.folder / next(iter(self.banks.values())))
        with self.stages.stage("agreement of modes") as advance:
            photos = enumerate(_readable(plan.photos, LEAST_PHOTOGRAPHS), start=1)
            images = (_advanced(image, advance, done) for done, image in photos)
            self.agreement = measure_agreement(images, towers, bank, kernels.prepare_bank(bank.embeddings))

    def _split_encoder(self) -> SplitEncoder | None:
        if self.split is None:
            return None
        trunk, head = (self.folder / name for name in (self.split.trunk, self.split.head))
        sizes = (self.split.channels, self.split.stride, self.model.embedding_dim)
        return open_split_onnx(trunk, head, *sizes, num_threads=self.num_threads)

    def _dense_encoders(self) -> dict[str, DenseEncoder]:
        if self.dense is None:
            return {}
        dim, stride = self.model.embedding_dim, self.dense.stride
        return {
            f"dense:{name}": open_dense_onnx(self.folder / file, dim, stride, num_threads=self.num_threads)
            for name, file in self.dense.towers.items()
        }

    def save_tensors(
        self, name: str, tensors: dict[str, npt.NDArray[np.float32]], metadata: dict[str, str] | None = None
    ) -> None:
        write_tensors(self.folder / name, tensors, metadata or {})

    def write_manifest(self, licences: tuple[str, ...], l1_penalty: float) -> None:
        """Sum up and sync every file, then write the manifest that lists them."""
        model = self.model
        with self.stages.stage("checksums"):
            files = {}
            for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
                files[path.relative_to(self.folder).as_posix()] = (sha256_of(path), path.stat().st_size)
                sync(path)
            manifest = Manifest(
                model=model.name,
                pretrained=model.pretrained,
                embedding_dim=model.embedding_dim,
                context_length=model.context_length,
                logit_scale=model.logit_scale,
                preprocess=model.preprocess,
                image_encoder=IMAGE_ENCODER,
                text_encoder=TEXT_ENCODER,
                tokenizer=TOKENIZER,
                tokenizer_clean=self.clean,
                text_length="dynamic" if model.dynamic_text else "fixed",
                image_mean=IMAGE_MEAN if IMAGE_MEAN in files else None,
                banks=self.banks,
                dictionaries=self.dictionaries,
                files=files,
                split=self.split,
                dense=self.dense,
                l1_penalty=l1_penalty,
                absent=self.absent,
                agreement=self.agreement,
                parity=_summary(self.parity),
                licences=licences,
                created_with=_versions(),
            )
            (self.folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
            sync(self.folder / MANIFEST)


def _advanced(image: npt.NDArray[np.uint8], advance: Callable[[int, int], None], done: int) -> npt.NDArray[np.uint8]:
    advance(done, LEAST_PHOTOGRAPHS)
    return image


def _readable(photos: Sequence[Path], limit: int) -> Iterator[npt.NDArray[np.uint8]]:
    for path in photos[:limit]:
        try:
            yield load_image(path)
        except ImageError:
            continue


def _summary(report: dict[str, Any]) -> dict[str, Any]:
    """The part of the parity report that the manifest repeats."""
    return {
        "min_cosine": report["min_cosine"],
        "max_abs_difference": max(report[kind]["max_abs_difference"] for kind in ("images", "texts")),
        "images": report["images"]["count"],
        "texts": report["texts"]["count"],
    }


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions
