"""From an open_clip model to a finished bundle, or to nothing at all."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import platform
import shutil
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..bundle import MANIFEST, Bundle, Manifest, sha256_of
from ..concepts.storage import write_tensors
from ..concepts.taxonomy import Taxonomy
from ..encoders.onnx import ImageEncoder, TextEncoder
from ..encoders.preprocess import load_image
from ..encoders.tokenizer import Tokenizer
from ..errors import ExportError, ImageError
from ..sparse.dictionary import Dictionary
from .banks import FREQUENT_NOUNS, BankPlan, plan_banks, safe_name
from .clip import ClipModel, export_image, export_text, load_clip
from .compact import compact as compact_encoder
from .mean import compute_image_mean, find_images, read_image_mean
from .parity import MIN_COSINE, check_parity, measure_parity, parity_images, parity_texts
from .progress import Stages
from .tokenizer import convert_tokenizer
from .vocabulary import noun_vocabulary, read_phrases, read_vocabulary
from .wordnet import Database, find_database, read_taxonomy

IMAGE_ENCODER, TEXT_ENCODER, TOKENIZER = "image_encoder.onnx", "text_encoder.onnx", "tokenizer.json"
IMAGE_MEAN, PARITY = "image_mean.safetensors", "parity.json"
COMPACT_MIN_COSINE = 0.999  # of weights rounded to 16 bits and token tables to 8
_log = logging.getLogger(__name__)
_PARITY_PHOTOS = 32  # of --mean-images, beside the synthetic pictures
_WORDNET_LICENCE = "WordNet 3.0, Princeton University (WordNet licence): names and definitions of the concepts"
_PACKAGES = ("fastconcept", "torch", "open_clip_torch", "timm", "onnx", "onnxruntime", "tokenizers", "ftfy", "regex")


def export_bundle(
    model: str,
    output: str | os.PathLike[str],
    *,
    pretrained: str | None = None,
    words: str | Path | None = None,
    roots: Sequence[str] | None = None,
    synsets: str | Path | None = None,
    nouns: bool = False,
    phrases: str | Path | None = None,
    vocabulary: str | Path | None = None,
    vocabulary_size: int = 10_000,
    mean_images: str | Path | None = None,
    mean_limit: int | None = None,
    image_mean: str | Path | None = None,
    image_mean_name: str | None = None,
    wordnet: str | Path | None = None,
    compact: bool = False,
    overwrite: bool = False,
    min_cosine: float | None = None,
    num_threads: int | None = None,
    progress: bool = True,
) -> Bundle:
    """Export an open_clip model to a bundle that runs without torch.

    Everything is written to a hidden directory beside ``output`` and renamed at the end, so that an export which
    fails or is interrupted leaves nothing behind.

    Parameters
    ----------
    model : str
        An architecture of open_clip (``ViT-B-32``), ``hf-hub:owner/name`` or ``local-dir:path``.
    output : path
        The bundle's directory; it must not exist, or be empty, or be a bundle and ``overwrite``.
    pretrained : str, optional
        A pretrained tag or checkpoint file, for an architecture's name.
    words, roots, synsets, nouns, phrases
        The concept banks, see :func:`fastconcept.export.banks.plan_banks`; by default everything below
        ``physical_entity.n.01``.
    vocabulary : path, optional
        The dictionary of sparse decompositions: a text file, one word a line, sorted by rising frequency, of which
        the last ``vocabulary_size`` are taken. By default the most frequent nouns of WordNet.
    vocabulary_size : int
        Most words in the dictionary; 0 for no dictionary.
    mean_images : path, optional
        A directory whose images give the mean embedding that sparse decompositions subtract.
    mean_limit : int, optional
        Take a seeded sample of so many of them.
    image_mean : path, optional
        The mean itself, in a safetensors file, instead of ``mean_images``.
    image_mean_name : str, optional
        Which tensor of that file, where there are several.
    wordnet : path, optional
        A WordNet database; by default the taxonomy that ships with the package.
    compact : bool
        Store weights in 16 bits, token tables in 8, banks and dictionaries in 16; everything is computed in float32.
    overwrite : bool
        Replace a bundle that is there.
    min_cosine : float, optional
        Least cosine between exported and original embeddings over every image and text of the parity report; by
        default 0.99999, and 0.999 for a compact bundle.
    num_threads : int, optional
        Threads of ONNX Runtime.
    progress : bool
        Draw progress on stderr where it is a terminal.

    Returns
    -------
    Bundle

    Raises
    ------
    ExportError
        If the model, a file or the output directory is not what it should be, or the exported model does not agree
        with the original.
    ConceptError
        If a root is not a noun synset.
    MissingDependencyError
        If the ``export`` extra is not installed.
    """
    target = Path(output).resolve()
    _check_output(target, overwrite)
    if mean_images and image_mean:
        raise ExportError("--mean-images and --image-mean exclude each other; give one")
    database = find_database(wordnet) if wordnet else None
    plans = plan_banks(words, roots, synsets, nouns, phrases, _taxonomy(database))
    chosen_words = _words(vocabulary, vocabulary_size, database)
    photos = find_images(Path(mean_images), mean_limit) if mean_images else []
    stages = Stages(progress)
    with stages.stage(f"loading {model}"):
        clip = load_clip(model, pretrained)
    with _staging(target, overwrite) as folder:
        work = _Export(clip, folder, stages, num_threads, compact)
        work.write_encoders()
        least = min_cosine if min_cosine is not None else COMPACT_MIN_COSINE if compact else MIN_COSINE
        work.write_parity([*chosen_words, *(text for plan in plans for text in plan.texts)], photos, least)
        for plan in plans:
            work.write_bank(plan)
        if chosen_words:
            work.write_dictionary(safe_name(Path(vocabulary or "wordnet").stem), chosen_words)
        if photos:
            work.write_image_mean(photos)
        elif image_mean:
            mean = read_image_mean(Path(image_mean), clip.embedding_dim, image_mean_name).mean
            work.save_tensors(IMAGE_MEAN, {"mean": mean})
        from_wordnet = vocabulary is None or any(plan.taxonomy for plan in plans)
        work.write_manifest((_WORDNET_LICENCE,) if from_wordnet else ())
    return Bundle(target)


def _taxonomy(database: Database | None) -> Taxonomy | None:
    """The nouns of a database on disk, which must be of the version that the runtime knows."""
    if database is None:
        return None
    taxonomy, known = read_taxonomy(database), Taxonomy.builtin().version
    if taxonomy.version != known:
        raise ExportError(f"{database.path} is WordNet {taxonomy.version or 'unknown'}, banks are read with {known}")
    return taxonomy


def _words(vocabulary: str | Path | None, size: int, database: Database | None) -> list[str]:
    """The vocabulary of the dictionary; none if ``size`` is 0."""
    if size < 0:
        raise ExportError(f"--vocabulary-size must be 0 or more, got {size}")
    if size == 0:
        return []
    if vocabulary is not None:
        return read_vocabulary(vocabulary, size)
    if database is not None:
        return noun_vocabulary(database, size)
    words = read_phrases(FREQUENT_NOUNS)
    if size > len(words):
        raise ExportError(f"{len(words)} nouns come with the package, not {size}; give --wordnet or --vocabulary")
    return words[:size]


class _Export:
    """The files of a bundle, written one after the other into a directory."""

    def __init__(
        self, clip: ClipModel, folder: Path, stages: Stages, num_threads: int | None, compact: bool = False
    ) -> None:
        self.clip, self.folder, self.stages, self.num_threads = clip, folder, stages, num_threads
        self.compact = compact
        self.banks: dict[str, str] = {}
        self.dictionaries: dict[str, str] = {}
        self.parity: dict[str, Any] = {}
        self.clean = "none"

    def write_encoders(self) -> None:
        clip = self.clip
        with self.stages.stage("image encoder"):
            export_image(clip, self.folder / IMAGE_ENCODER)
            if self.compact:
                compact_encoder(self.folder / IMAGE_ENCODER)
            self.image_encoder = ImageEncoder(
                self.folder / IMAGE_ENCODER, clip.embedding_dim, num_threads=self.num_threads
            )
        with self.stages.stage("text encoder"):
            export_text(clip, self.folder / TEXT_ENCODER)
            if self.compact:
                compact_encoder(self.folder / TEXT_ENCODER)
            self.clean = convert_tokenizer(clip.tokenizer, self.folder / TOKENIZER)
            tokenizer = Tokenizer(self.folder / TOKENIZER, clip.context_length, self.clean, clip.dynamic_text)
            self.text_encoder = TextEncoder(
                self.folder / TEXT_ENCODER, tokenizer, clip.embedding_dim, num_threads=self.num_threads
            )

    def write_parity(self, texts: Sequence[str], photos: Sequence[Path], min_cosine: float) -> None:
        with self.stages.stage("parity with torch"):
            images = [*parity_images(), *_readable(photos, _PARITY_PHOTOS)]
            report = measure_parity(self.clip, self.image_encoder, self.text_encoder, images, parity_texts(texts))
            report["tolerance"] = {"min_cosine": min_cosine}
            check_parity(report, min_cosine)
            (self.folder / PARITY).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
            self.parity = report

    def write_bank(self, plan: BankPlan) -> None:
        with self.stages.stage(f"concept bank {plan.name}") as advance:
            embeddings = self.text_encoder.encode(plan.texts, progress=advance)
            self.banks[plan.name] = f"banks/{plan.name}.safetensors"
            (self.folder / "banks").mkdir(exist_ok=True)
            plan.bank(embeddings).save(self.folder / self.banks[plan.name], half=self.compact)

    def write_dictionary(self, name: str, words: Sequence[str]) -> None:
        with self.stages.stage(f"dictionary {name}") as advance:
            embeddings = self.text_encoder.encode(words, progress=advance)
            self.dictionaries[name] = f"dictionaries/{name}.safetensors"
            (self.folder / "dictionaries").mkdir(exist_ok=True)
            dictionary = Dictionary.from_embeddings(words, embeddings)
            dictionary.save(self.folder / self.dictionaries[name], half=self.compact)

    def write_image_mean(self, photos: Sequence[Path]) -> None:
        with self.stages.stage("image mean") as advance:
            found = compute_image_mean(self.image_encoder, self.clip.preprocess, photos, advance)
            if found.skipped:
                _log.warning("%d of %d images cannot be read and were left out", found.skipped, len(photos))
            counts = {"images": str(found.images), "skipped": str(found.skipped)}
            self.save_tensors(IMAGE_MEAN, {"mean": found.mean}, counts)

    def save_tensors(
        self, name: str, tensors: dict[str, npt.NDArray[np.float32]], metadata: dict[str, str] | None = None
    ) -> None:
        write_tensors(self.folder / name, tensors, metadata or {})

    def write_manifest(self, licences: tuple[str, ...]) -> None:
        """Checksums of everything, made durable before the bundle gets its name."""
        clip = self.clip
        with self.stages.stage("checksums"):
            files = {}
            for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
                files[path.relative_to(self.folder).as_posix()] = (sha256_of(path), path.stat().st_size)
                _sync(path)
            manifest = Manifest(
                model=clip.name,
                pretrained=clip.pretrained,
                embedding_dim=clip.embedding_dim,
                context_length=clip.context_length,
                logit_scale=clip.logit_scale,
                preprocess=clip.preprocess,
                image_encoder=IMAGE_ENCODER,
                text_encoder=TEXT_ENCODER,
                tokenizer=TOKENIZER,
                tokenizer_clean=self.clean,
                text_length="dynamic" if clip.dynamic_text else "fixed",
                image_mean=IMAGE_MEAN if IMAGE_MEAN in files else None,
                banks=self.banks,
                dictionaries=self.dictionaries,
                files=files,
                parity=_summary(self.parity),
                licences=licences,
                created_with=_versions(),
            )
            (self.folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
            _sync(self.folder / MANIFEST)


def _readable(photos: Sequence[Path], limit: int) -> Iterator[npt.NDArray[np.uint8]]:
    for path in photos[:limit]:
        try:
            yield load_image(path)
        except ImageError:
            continue


def _summary(report: dict[str, Any]) -> dict[str, Any]:
    """What the manifest repeats of the parity report."""
    return {
        "min_cosine": report["min_cosine"],
        "max_abs_difference": max(report[kind]["max_abs_difference"] for kind in ("images", "texts")),
        "images": report["images"]["count"],
        "texts": report["texts"]["count"],
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _check_output(target: Path, overwrite: bool) -> None:
    """Refuse to write where something else lies, before hours of work."""
    if not target.parent.is_dir():
        raise ExportError(f"{target.parent} does not exist; create it first")
    if not os.access(target.parent, os.W_OK):
        raise ExportError(f"{target.parent} is not writable")
    if target.exists() and not target.is_dir():
        raise ExportError(f"{target} is a file; give a directory that does not exist yet")
    if target.is_dir() and any(target.iterdir()):
        if not (target / MANIFEST).is_file():
            raise ExportError(f"{target} is a directory with other things in it; give one that does not exist yet")
        if not overwrite:
            raise ExportError(f"{target} is already a bundle; use --overwrite to replace it, or another directory")


@contextmanager
def _staging(target: Path, overwrite: bool) -> Iterator[Path]:
    """A hidden directory beside ``target`` that takes its name at the end, or vanishes."""
    folder = target.with_name(f".{target.name}.partial-{os.getpid()}")
    replaced = target.with_name(f".{target.name}.replaced-{os.getpid()}")
    with _termination_raises():
        try:
            folder.mkdir()
            yield folder
            for directory in [*(path for path in folder.rglob("*") if path.is_dir()), folder]:
                _sync(directory)
            _check_output(target, overwrite)  # something may have come up meanwhile
            if target.exists():
                os.replace(target, replaced)
            try:
                os.replace(folder, target)
            except BaseException:
                if replaced.exists():
                    os.replace(replaced, target)
                raise
            _sync(target.parent)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(replaced, ignore_errors=True)


@contextmanager
def _termination_raises() -> Iterator[None]:
    """Let SIGTERM raise, so that what is half written is removed; its default would end the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _sync(path: Path) -> None:
    """Push a file or directory to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
