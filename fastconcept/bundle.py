"""A bundle: one directory of plain files that holds everything the runtime needs of one CLIP model.

``manifest.json`` names every other file with its size and sha256. Nothing in a bundle is pickled or executed,
every file is verified before its first use, and no name may lead outside the directory.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path, PurePosixPath
from typing import Any

from .doors import iterable, number, shown, whole
from .errors import BundleError, InputError
from .files import user_cache
from .weight_files import weight_files

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 8 << 20
_LONGEST_NAME = 255  # bytes of a file name on every usual file system
_LARGEST_NUMBER = 1e6  # of preprocessing and logit scale; all sensible ones are far smaller
L1_PENALTY = 0.25  # of SpLiCE's own examples, for models of which nothing else is known
NO_WORD = 2  # penalty from which on no word enters a decomposition of unit rows
_CHOICES = {"interpolation": ("bicubic", "bilinear"), "resize_mode": ("shortest", "squash", "longest")}
_BUILTIN = Path(__file__).parent / "data" / "builtin"


@dataclass(frozen=True)
class Preprocess:
    """How whole images become the encoder's input; the fields are open_clip's ``preprocess_cfg``.

    Raises
    ------
    InputError
        If a field is of another type or out of range.

    Examples
    --------
    >>> Preprocess((224, 224), (0.48, 0.46, 0.41), (0.27, 0.26, 0.28)).resize_mode
    'shortest'
    """

    size: tuple[int, int]  # height, width in pixels
    mean: tuple[float, float, float]  # per channel, white is 1
    std: tuple[float, float, float]
    interpolation: str = "bicubic"  # or "bilinear"
    resize_mode: str = "shortest"  # short side then centre crop; or "squash", or "longest" then pad
    fill_color: int = 0  # of the padding of "longest", 0 to 255
    patch_size: tuple[int, int] | None = None  # height, width that a patch of an image is resized to; None: `size`

    def __post_init__(self) -> None:
        sides = {"size": self.size} | ({} if self.patch_size is None else {"patch_size": self.patch_size})
        checked: dict[str, Any] = {name: _tuple(name, value, 2, whole) for name, value in sides.items()}
        checked |= {name: _tuple(name, getattr(self, name), 3, number) for name in ("mean", "std")}
        checked["fill_color"] = whole("fill_color", self.fill_color)
        if not all(1 <= side <= 4096 for name in sides for side in checked[name]):
            raise InputError("size and patch_size must be 1 to 4096 pixels")
        if not all(abs(value) <= _LARGEST_NUMBER for value in checked["mean"] + checked["std"]):
            raise InputError(f"mean and std must be numbers up to {_LARGEST_NUMBER:.0f}")
        if not all(value > 1e-6 for value in checked["std"]) or not 0 <= checked["fill_color"] <= 255:
            raise InputError("std must be positive, and fill_color from 0 to 255")
        for name, allowed in _CHOICES.items():
            if not isinstance(value := getattr(self, name), str) or value not in allowed:
                raise InputError(f"{name} must be {' or '.join(allowed)}, got {shown(value)}")
        vars(self).update(checked)


def _tuple(name: str, values: Any, count: int, check: Callable[[str, Any], Any]) -> tuple[Any, ...]:
    checked = tuple(check(name, value) for value in iterable(name, values))
    if len(checked) != count:
        raise InputError(f"{name} must be {count} numbers, got {shown(values)}")
    return checked


_FIELDS = frozenset(entry.name for entry in fields(Preprocess))


@dataclass(frozen=True)
class Split:
    """An image tower in two parts, for towers that pool a feature map: head(mean of trunk(pixels)) is the encoder."""

    trunk: str  # file: pixels (n, 3, H, W) to maps (n, channels, H / stride, W / stride)
    head: str  # file: means (n, channels) to unit rows
    weights: str | None  # file of weights that both share with the image encoder, or None where each has its own
    channels: int
    stride: int  # pixels per cell of a map


@dataclass(frozen=True)
class Dense:
    """An image tower that gives a row for every token of one pass, its last blocks changed as published."""

    towers: Mapping[str, str]  # name of the change -> file: pixels (n, 3, H, W) to unit rows (n, 1 + h w, d)
    weights: str | None  # as for Split
    stride: int  # pixels per token


@dataclass(frozen=True)
class Manifest:
    """What ``manifest.json`` says, checked."""

    model: str
    pretrained: str | None
    embedding_dim: int
    context_length: int
    logit_scale: float
    preprocess: Preprocess
    image_encoder: str
    text_encoder: str
    tokenizer: str
    tokenizer_clean: str  # "lower", "whitespace", "canonicalize" or "none": what open_clip does to a string first
    text_length: str  # "dynamic": rows as long as their longest text; "fixed": always context_length
    image_mean: str | None
    banks: Mapping[str, str]  # name -> file; the first is the default
    dictionaries: Mapping[str, str]
    files: Mapping[str, tuple[str, int]]  # file -> (sha256, bytes)
    split: Split | None = None
    dense: Dense | None = None
    l1_penalty: float = L1_PENALTY  # of decompositions that are not asked for another
    absent: Mapping[str, str] = field(default_factory=dict)  # mode -> why the bundle does not have it
    agreement: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # mode -> how far it agrees with crops
    parity: Mapping[str, Any] = field(default_factory=dict)
    licences: tuple[str, ...] = ()
    created_with: Mapping[str, str] = field(default_factory=dict)

    @property
    def image_digest(self) -> str:
        """The sha256 of everything that the image encoder computes with: its graph, and weights in another file."""
        used = [self.image_encoder, f"{self.image_encoder}.data"]
        used += [part.weights for part in (self.split, self.dense) if part is not None and part.weights is not None]
        digests = dict.fromkeys(self.files[name][0] for name in used if name in self.files)
        return hashlib.sha256(" ".join(digests).encode()).hexdigest() if len(digests) > 1 else next(iter(digests))

    def to_json(self) -> str:
        """The manifest as the text of ``manifest.json``; :func:`parse_manifest` reads it back."""
        preprocess = dict(vars(self.preprocess))
        document = {"schema_version": SCHEMA_VERSION, **vars(self), "preprocess": preprocess}
        for name in ("banks", "dictionaries", "parity", "created_with", "absent", "agreement"):
            document[name] = dict(document[name])
        document["split"] = None if self.split is None else dict(vars(self.split))
        document["dense"] = None if self.dense is None else {**vars(self.dense), "towers": dict(self.dense.towers)}
        document["files"] = {name: {"sha256": digest, "bytes": size} for name, (digest, size) in self.files.items()}
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


class _Reader:
    """Takes typed fields out of a parsed JSON object and names the field that is wrong."""

    def __init__(self, document: object, where: str) -> None:
        if not isinstance(document, dict):
            raise BundleError(f"{where}: expected a JSON object, got {type(document).__name__}")
        self.document, self.where = document, where

    def get(self, key: str, kind: type | tuple[type, ...], default: Any = ...) -> Any:
        value = self.document.get(key, default)
        if value is ...:
            raise BundleError(f"{self.where}: the field {key!r} is missing; export the model again")
        if isinstance(value, bool) or not isinstance(value, kind):
            raise BundleError(f"{self.where}: the field {key!r} has the wrong type ({type(value).__name__})")
        if isinstance(value, int) and not 0 <= value < 1 << 63:
            raise BundleError(f"{self.where}: the field {key!r} is negative or has too many digits")
        return value

    def encoder(self, key: str) -> str:
        name = str(self.get(key, str))
        if not name.endswith(".onnx"):
            raise BundleError(f"{self.where}: {key!r} is {name!r}, expected a file that ends in .onnx")
        return name

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        value = self.get(key, str)
        if value not in allowed:
            raise BundleError(f"{self.where}: {key!r} is {value!r}, expected one of {', '.join(allowed)}")
        return str(value)

    def names(self, key: str) -> dict[str, str]:
        mapping = self.get(key, dict, {})
        if any(not isinstance(value, str) for value in mapping.values()):
            raise BundleError(f"{self.where}: the field {key!r} must map names to files")
        return dict(mapping)


def _parse_preprocess(document: object, where: str) -> Preprocess:
    reader = _Reader(document, f"{where}: preprocess")
    for name in ("size", "mean", "std"):
        reader.get(name, list)
    try:
        return Preprocess(**{key: value for key, value in reader.document.items() if key in _FIELDS})
    except InputError as error:
        raise BundleError(f"{reader.where}: {error}") from None


def _parse_split(document: object, where: str) -> Split | None:
    if document is None:
        return None
    reader = _Reader(document, f"{where}: split")
    channels, stride = reader.get("channels", int), reader.get("stride", int)
    if not 1 <= channels <= 65536 or not 1 <= stride <= 256:
        raise BundleError(f"{where}: split: channels or stride is out of range")
    return Split(
        trunk=reader.encoder("trunk"),
        head=reader.encoder("head"),
        weights=reader.get("weights", (str, type(None)), None),
        channels=channels,
        stride=stride,
    )


def _parse_dense(document: object, where: str) -> Dense | None:
    if document is None:
        return None
    reader = _Reader(document, f"{where}: dense")
    towers, stride = reader.names("towers"), reader.get("stride", int)
    if not towers or not all(name.isidentifier() and file.endswith(".onnx") for name, file in towers.items()):
        raise BundleError(f"{where}: dense: towers must map names to files that end in .onnx")
    if not 1 <= stride <= 256:
        raise BundleError(f"{where}: dense: stride is out of range")
    return Dense(towers=towers, weights=reader.get("weights", (str, type(None)), None), stride=stride)


def _parse_agreement(document: dict[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """Numbers of :func:`fastconcept.saliency.agreement.measure_agreement`, by mode."""
    agreements: dict[str, dict[str, Any]] = {}
    for mode, entry in document.items():
        reader = _Reader(entry, f"{where}: agreement: {mode}")
        groups: dict[str, Any] = {"photographs": reader.get("photographs", int)}
        groups["times_faster"] = float(reader.get("times_faster", (int, float)))
        for name in ("present", "absent"):
            group = _Reader(reader.get(name, dict), f"{reader.where}: {name}")
            groups[name] = {key: group.get(key, (int, float)) for key in group.document}
        agreements[mode] = groups
    return agreements


def parse_manifest(text: str, where: str = MANIFEST) -> Manifest:
    """Check the text of a manifest and return it.

    Parameters
    ----------
    text : str
        JSON.
    where : str
        What to call it in error messages.

    Returns
    -------
    Manifest

    Raises
    ------
    BundleError
        If it is not JSON, of a newer schema version, incomplete, or names a file it does not list or may not name.
    """
    try:
        document = json.loads(text)
        json.dumps(document, ensure_ascii=False, allow_nan=False).encode()  # all numbers finite, all text valid
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is not valid JSON ({error}); export the model again") from None
    reader = _Reader(document, where)
    version = reader.get("schema_version", int)
    if version > SCHEMA_VERSION or version < 1:
        raise BundleError(
            f"{where} has schema version {version}; this fastconcept reads versions 1 to {SCHEMA_VERSION}: "
            "upgrade fastconcept, or export the model again"
        )
    files = {}
    for name, entry in reader.get("files", dict).items():
        record = _Reader(entry, f"{where}: files: {name}")
        files[_safe_name(name, where)] = (record.get("sha256", str), record.get("bytes", int))
    manifest = Manifest(
        model=reader.get("model", str),
        pretrained=reader.get("pretrained", (str, type(None)), None),
        embedding_dim=reader.get("embedding_dim", int),
        context_length=reader.get("context_length", int),
        logit_scale=_logit_scale(reader),
        preprocess=_parse_preprocess(reader.get("preprocess", dict), where),
        image_encoder=reader.encoder("image_encoder"),
        text_encoder=reader.encoder("text_encoder"),
        tokenizer=reader.get("tokenizer", str),
        tokenizer_clean=reader.choice("tokenizer_clean", ("lower", "whitespace", "canonicalize", "none")),
        text_length=reader.choice("text_length", ("dynamic", "fixed")),
        image_mean=reader.get("image_mean", (str, type(None)), None),
        banks=reader.names("banks"),
        dictionaries=reader.names("dictionaries"),
        files=files,
        split=_parse_split(document.get("split"), where),
        dense=_parse_dense(document.get("dense"), where),
        l1_penalty=_l1_penalty(reader),
        absent=reader.names("absent"),
        agreement=_parse_agreement(reader.get("agreement", dict, {}), where),
        parity=reader.get("parity", dict, {}),
        licences=tuple(str(item) for item in reader.get("licences", list, [])),
        created_with=reader.names("created_with"),
    )
    if not 1 <= manifest.embedding_dim <= 65536 or not 1 <= manifest.context_length <= 65536:
        raise BundleError(f"{where}: embedding_dim and context_length must be from 1 to 65536")
    used = [manifest.image_encoder, manifest.text_encoder, manifest.tokenizer, manifest.image_mean]
    used += [] if manifest.split is None else [manifest.split.trunk, manifest.split.head, manifest.split.weights]
    used += [] if manifest.dense is None else [*manifest.dense.towers.values(), manifest.dense.weights]
    for name in [*used, *manifest.banks.values(), *manifest.dictionaries.values()]:
        if name is not None and name not in files:
            raise BundleError(f"{where}: the file {name!r} is used but not listed under 'files'")
    return manifest


def _logit_scale(reader: _Reader) -> float:
    value = reader.get("logit_scale", (int, float))
    if not abs(value) <= _LARGEST_NUMBER:
        raise BundleError(f"{reader.where}: logit_scale must be at most {_LARGEST_NUMBER:.0f}")
    return float(value)


def _l1_penalty(reader: _Reader) -> float:
    value = float(reader.get("l1_penalty", (int, float), L1_PENALTY))
    if not 0 < value < NO_WORD:
        raise BundleError(f"{reader.where}: l1_penalty must be above 0 and below {NO_WORD}")
    return value


def _safe_name(name: str, where: str) -> str:
    """Reject a file name that could lead outside the bundle's directory, or that no file can have."""
    parts = PurePosixPath(name).parts
    if not parts or "\\" in name or "\0" in name or parts[0] == "/" or ".." in parts or ":" in parts[0]:
        raise BundleError(f"{where}: the file name {name!r} leaves the bundle's directory; do not use this bundle")
    if len(name.encode()) > _LONGEST_NAME or not name.isprintable():
        raise BundleError(f"{where}: the file name {name[:40]!r} is too long or has control characters")
    return name


def sha256_of(path: Path) -> str:
    """The sha256 of a file in lower-case hexadecimal, read in 1 MiB pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


class Bundle:
    """An opened bundle: its manifest, and its files verified on first use.

    Parameters
    ----------
    path : str or Path
        A directory with a ``manifest.json``.

    Raises
    ------
    BundleError
        If the directory or a file is missing, a size differs, or the manifest is wrong (see :func:`parse_manifest`).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        manifest = self.path / MANIFEST
        if not os.path.isfile(manifest):
            raise BundleError(f"no bundle at {self.path}: {MANIFEST} is missing; create one with: fastconcept export")
        self._verified: set[str] = set()
        try:
            if manifest.stat().st_size > _MAX_MANIFEST_BYTES:
                raise BundleError(f"{manifest} is larger than {_MAX_MANIFEST_BYTES >> 20} MiB; this is not a bundle")
            self.manifest = parse_manifest(manifest.read_text(encoding="utf-8"), str(manifest))
            self._check_files()
        except (OSError, UnicodeDecodeError) as error:
            raise BundleError(f"the bundle at {self.path} cannot be read: {error}") from None

    def _check_files(self) -> None:
        """Every file is there, of the size that the manifest says, and inside the directory."""
        root = _root_of_links(self.path)
        for name, size in [(MANIFEST, None), *((name, size) for name, (_, size) in self.manifest.files.items())]:
            file = self.path / name
            if not file.is_file():
                raise BundleError(f"{file} is missing; export the model again, or download it again")
            if not file.resolve().is_relative_to(root):
                raise BundleError(f"{file} is a link out of the bundle's directory; do not use this bundle")
            if size is not None and file.stat().st_size != size:
                raise BundleError(f"{file} has {file.stat().st_size} bytes, the manifest says {size}; export again")

    def __repr__(self) -> str:
        return f"Bundle({str(self.path)!r})"

    def file(self, name: str) -> Path:
        """Path of a file of this bundle, its checksum verified (once).

        Raises
        ------
        BundleError
            If the file is not listed, or its sha256 is not the manifest's.
        """
        if name not in self.manifest.files:
            raise BundleError(f"{self.path} has no file {name!r}; it has: {', '.join(sorted(self.manifest.files))}")
        file = self.path / name
        if name not in self._verified:
            try:
                digest = sha256_of(file)
            except OSError as error:
                raise BundleError(f"{file} cannot be read: {error.strerror}") from None
            if digest != self.manifest.files[name][0]:
                raise BundleError(f"{file} is damaged: its sha256 is not the manifest's; copy or export it again")
            self._verified.add(name)
        if f"{name}.data" in self.manifest.files:  # where an encoder's weights lie if they do not fit into one file
            self.file(f"{name}.data")
        return file

    def encoder(self, name: str) -> Path:
        """Path of an ONNX file, resolved, with its checksum and those of the files of weights that it reads verified.

        Raises
        ------
        BundleError
            As :meth:`file`; also if the model reads a file that the manifest does not list.
        """
        file = self.file(name)
        folder = PurePosixPath(name).parent
        for location in weight_files(file):
            beside = str(folder / location)
            if beside not in self.manifest.files:
                raise BundleError(f"{file} reads {location!r}, which is not in the manifest; do not use this bundle")
            self.file(beside)
        return file

    def verify(self) -> None:
        """Verify every file now; raises :class:`BundleError` at the first that is damaged."""
        for name in self.manifest.files:
            self.file(name)

    def bank(self, name: str | None = None) -> Path:
        """File of a concept bank by its name; None means the first."""
        return self.file(_pick(self.manifest.banks, name, "concept bank", self.path, "--words, --roots or --nouns"))

    def dictionary(self, name: str | None = None) -> Path:
        """File of a SpLiCE dictionary by its name; None means the first."""
        return self.file(_pick(self.manifest.dictionaries, name, "dictionary", self.path, "--vocabulary"))


def _pick(choices: Mapping[str, str], name: str | None, what: str, path: Path, option: str) -> str:
    if not choices:
        raise BundleError(f"{path} has no {what}; export the model again with {option}")
    if name is None:
        return next(iter(choices.values()))
    if name not in choices:
        raise BundleError(f"{path} has no {what} {name!r}; it has: {', '.join(choices)}")
    return choices[name]


def _root_of_links(path: Path) -> Path:
    """The directory that the files of a bundle may be links into: its own, or its repository in the hub's cache.

    huggingface_hub keeps files in ``models--owner--name/blobs``, and links to them in ``snapshots/REVISION``.
    """
    root = path.resolve()
    repository = root.parents[1] if len(root.parents) > 1 else root
    if root.parent.name == "snapshots" and repository.name.startswith("models--") and (repository / "blobs").is_dir():
        return repository
    return root


def search_directories() -> list[Path]:
    """Where a bundle given by name is looked for: ``FASTCONCEPT_BUNDLES`` (a path list), then the user's cache."""
    listed = [Path(item) for item in os.environ.get("FASTCONCEPT_BUNDLES", "").split(os.pathsep) if item]
    cache = user_cache()
    return listed if cache is None else [*listed, cache / "bundles"]


def installed_bundles() -> list[Path]:
    """Every bundle that :func:`find_bundle` would find by name, and the built-in one."""
    found = [_BUILTIN] if (_BUILTIN / MANIFEST).is_file() else []
    for directory in search_directories():
        if os.path.isdir(directory):
            found += sorted(path.parent for path in directory.glob(f"*/{MANIFEST}"))
    return found


def find_bundle(name: str | os.PathLike[str] | None = None) -> Path:
    """Turn what a user writes for a bundle into its directory.

    Parameters
    ----------
    name : str or path, optional
        A directory; the name of a bundle in :func:`search_directories`; ``hf-hub:owner/name`` or
        ``hf-hub:owner/name@revision`` (downloaded once by huggingface_hub); or None: the environment's
        ``FASTCONCEPT_BUNDLE``, else the built-in bundle.

    Returns
    -------
    Path

    Raises
    ------
    BundleError
        If there is none, saying where it was looked for.
    """
    chosen = os.environ.get("FASTCONCEPT_BUNDLE") or None if name is None else name
    if chosen is None:
        if (_BUILTIN / MANIFEST).is_file():
            return _BUILTIN
        raise BundleError(
            "no bundle was named and none is built in; make one with `fastconcept export MODEL -o DIR` and "
            "give its directory, or set FASTCONCEPT_BUNDLE"
        )
    if not isinstance(chosen, (str, os.PathLike)) or not str(chosen).strip():
        raise BundleError(f"a bundle is a directory, a name or hf-hub:owner/name, got {chosen!r}")
    text = os.fspath(chosen)
    if text.startswith("hf-hub:"):
        return _download(text.removeprefix("hf-hub:"))
    path = Path(os.path.expanduser(text))
    if os.path.isdir(path) or path.is_absolute() or len(path.parts) > 1:
        return path
    for directory in search_directories():
        if os.path.isfile(directory / text / MANIFEST):
            return directory / text
    if text == "builtin" and (_BUILTIN / MANIFEST).is_file():
        return _BUILTIN
    looked = ", ".join(str(directory) for directory in [Path.cwd(), *search_directories()])
    raise BundleError(f"no bundle {text!r}; looked in: {looked}")


def _download(repository: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    wanted = ["*.json", "*.onnx", "*.onnx.data", "*.safetensors"]
    owner_and_name, _, revision = repository.partition("@")
    try:
        return Path(snapshot_download(owner_and_name, revision=revision or None, allow_patterns=wanted))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        raise BundleError(f"hf-hub:{repository} cannot be had: {error}") from None
