"""Parts: the encoders, concept bank, dictionary and image mean that an engine works with, on one device."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from . import kernels as backends
from .bundle import L1_PENALTY, Bundle, Preprocess
from .concepts.bank import ConceptBank
from .concepts.storage import read_tensors
from .doors import door, shown
from .encoders.decode import MAX_PIXELS
from .encoders.dense import DenseEncoder
from .encoders.image_tower import ImageTower
from .encoders.in_memory import as_image_encoder, as_text_encoder
from .encoders.opening import (
    check_encoder,
    open_dense_encoder,
    open_image_encoder,
    open_split_encoder,
    open_text_encoder,
)
from .encoders.providers import device_providers
from .encoders.split import SplitEncoder
from .errors import BundleError, InputError
from .kernels.contract import Kernels, PreparedBank
from .kernels.foreign import embedding_rows
from .kernels.forks import renew_after_fork
from .kernels.threads import check_num_threads
from .saliency.agreement import fastest
from .saliency.layout import AUTO, POOLED
from .sparse.dictionary import Dictionary

FloatArray = npt.NDArray[np.float32]
NAMES = ("image_encoder", "split_encoder", "text_encoder", "bank", "prepared_bank", "dictionary", "image_mean")
DENSE = "dense"  # the part of models in memory; those of bundles are "dense:" and the name of a change
_NEEDS = {
    POOLED[0]: "its image tower does not pool a feature map",
    DENSE: "its image tower was exported without a dense pass",
}
DECODE = ("exact", "fast")
_CHECKED: dict[str, type[Any]] = {"bank": ConceptBank, "dictionary": Dictionary, "image_mean": np.ndarray}


class Later:
    """A part that a function makes when it is first needed."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


class Parts:
    """What an engine works with. Each part is opened when it is first needed, once, whatever the number of threads.

    Make them with :meth:`of_bundle` or :meth:`in_memory`; derive others with :meth:`replace`.

    Attributes
    ----------
    device : str
        ``"cpu"`` or ``"cuda:N"``.
    place : Device
        The same as the kernels know it. Work with kernels inside ``with parts.place``: on a GPU, its device and the
        engine's stream.
    kernels : Kernels
        The backend of the device.
    preprocess : Preprocess
        Input size and normalisation of the image encoder.
    embedding_dim : int
    encoder : str
        What runs the image tower: ``"onnx"``, ``"tensorrt"``, the path of a plan, or ``"in memory"``.
    num_threads : int
        CPU threads of kernels and encoders.
    max_pixels : int
        Largest image that is decoded, in pixels.
    decode : str
        ``"exact"`` or ``"fast"``: how whole images are decoded for the encoder.
    """

    def __init__(
        self,
        sources: dict[str, Any],
        preprocess: Preprocess,
        embedding_dim: int,
        *,
        device: str = "cpu",
        num_threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
        decode: str = "exact",
        bundle: Bundle | None = None,
        encoder: str = "in memory",
    ) -> None:
        self.encoder = encoder
        self.preprocess, self.embedding_dim, self._bundle = preprocess, embedding_dim, bundle
        if decode not in DECODE:
            raise InputError(f"decode must be {' or '.join(DECODE)}, got {decode!r}")
        self.device, self.max_pixels, self.decode = device, max_pixels, decode
        self.num_threads = check_num_threads(num_threads)
        self.kernels: Kernels = backends.backend(device.split(":")[0])
        self.place = self.kernels.open_device(device)
        self._recipe: Callable[[], Parts] | None = None
        self.renew()
        self._sources: dict[str, Any] = {"prepared_bank": Later(self._prepare_bank), **sources}
        self._opened: dict[str, Any] = {}

    def renew(self) -> None:
        """A lock of this process; for a forked child, too."""
        self._lock = threading.RLock()
        renew_after_fork(self)

    def __reduce__(self) -> tuple[Callable[[], Parts], tuple[()]]:
        """Copies and other processes make the parts again in the way they were made here."""
        if self._recipe is None:
            raise InputError("these parts cannot be copied; make them with Parts.of_bundle or Parts.in_memory")
        return self._recipe, ()

    @classmethod
    def of_bundle(
        cls,
        bundle: Bundle,
        *,
        device: str = "cpu",
        providers: Sequence[Any] | None = None,
        encoder: str = "onnx",
        bank: str | None = None,
        dictionary: str | None = None,
        num_threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
        decode: str = "exact",
    ) -> Parts:
        """The parts that the files of a bundle hold; parameters as for :func:`fastconcept.load`."""
        chosen = list(providers) if providers is not None else device_providers(device)
        encoder = check_encoder(encoder, device)
        manifest = bundle.manifest
        parts: Parts
        sources = {
            "image_encoder": Later(lambda: open_image_encoder(bundle, parts.place, chosen, encoder, parts.num_threads)),
            "split_encoder": Later(lambda: open_split_encoder(bundle, parts.place, chosen, parts.num_threads)),
            "text_encoder": Later(lambda: open_text_encoder(bundle, parts.place, chosen, parts.num_threads)),
            "bank": Later(lambda: ConceptBank.load(bundle.bank(bank))),
            "dictionary": Later(lambda: Dictionary.load(bundle.dictionary(dictionary))),
            "image_mean": Later(lambda: _read_image_mean(bundle)),
        }
        for change in manifest.dense.towers if manifest.dense is not None else ():
            sources[f"{DENSE}:{change}"] = Later(
                lambda change=change: open_dense_encoder(  # type: ignore[misc]
                    bundle, change, parts.place, chosen, parts.num_threads
                )
            )
        parts = cls(
            sources,
            manifest.preprocess,
            manifest.embedding_dim,
            device=device,
            num_threads=num_threads,
            max_pixels=max_pixels,
            decode=decode,
            bundle=bundle,
            encoder=encoder,
        )
        parts._recipe = partial(
            _open_bundle,
            bundle.path.absolute(),
            device=device,
            providers=providers,
            encoder=encoder,
            bank=bank,
            dictionary=dictionary,
            num_threads=num_threads,
            max_pixels=max_pixels,
            decode=decode,
        )
        return parts

    @classmethod
    @door
    def in_memory(
        cls,
        *,
        embedding_dim: int,
        preprocess: Preprocess | None = None,
        image_encoder: Any = None,
        split_encoder: SplitEncoder | None = None,
        dense_encoder: DenseEncoder | None = None,
        text_encoder: Any = None,
        bank: ConceptBank | None = None,
        dictionary: Dictionary | None = None,
        image_mean: npt.ArrayLike | None = None,
        device: str = "cpu",
        num_threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
        decode: str = "exact",
    ) -> Parts:
        """Parts that live in this process; parameters as for :meth:`fastconcept.Engine.from_parts`."""
        if image_encoder is not None and preprocess is None:
            raise InputError("an image encoder needs preprocess=Preprocess(size, mean, std)")
        if preprocess is not None and not isinstance(preprocess, Preprocess):
            raise InputError(f"preprocess must be a fastconcept.Preprocess, got {shown(preprocess)}")
        sources = {
            "image_encoder": None if image_encoder is None else as_image_encoder(image_encoder),
            "split_encoder": split_encoder,
            DENSE: dense_encoder,
            "text_encoder": None if text_encoder is None else as_text_encoder(text_encoder),
            "bank": bank,
            "dictionary": dictionary,
            "image_mean": None if image_mean is None else embedding_rows("image_mean", image_mean),
        }
        half = (0.5, 0.5, 0.5)
        parts = cls(
            {name: source for name, source in sources.items() if source is not None},
            preprocess or Preprocess((1, 1), half, half),
            embedding_dim,
            device=device,
            num_threads=num_threads,
            max_pixels=max_pixels,
            decode=decode,
        )
        parts._recipe = partial(
            Parts.in_memory,
            embedding_dim=embedding_dim,
            preprocess=preprocess,
            image_encoder=image_encoder,
            split_encoder=split_encoder,
            dense_encoder=dense_encoder,
            text_encoder=text_encoder,
            bank=bank,
            dictionary=dictionary,
            image_mean=image_mean,
            device=device,
            num_threads=num_threads,
            max_pixels=max_pixels,
            decode=decode,
        )
        return parts

    def replace(self, **parts: Any) -> Parts:
        """These parts with some of them replaced; what is not replaced is shared, and opened once for both.

        Parameters
        ----------
        **parts
            By name: ``image_encoder, text_encoder, bank, dictionary, image_mean``, and any of :attr:`dense`. A
            :class:`Later` is made when it is first needed.

        Raises
        ------
        InputError
            If there is no such part.
        """
        if unknown := set(parts) - {*NAMES, *self.dense}:
            raise InputError(f"there is no part {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
        other = object.__new__(Parts)
        other.__dict__.update(self.__dict__)
        other._opened = {}
        other._recipe = partial(self.replace, **parts)
        other.renew()
        other._sources = {name: Later(lambda name=name: self._open(name)) for name in self._sources}  # type: ignore[misc]
        if "bank" in parts:
            other._sources["prepared_bank"] = Later(other._prepare_bank)
        other._sources.update(parts)
        return other

    @property
    def bundle(self) -> Bundle:
        """The bundle that the parts come from.

        Raises
        ------
        InputError
            If they were made in memory.
        """
        if self._bundle is None:
            raise InputError("this engine was made from parts in memory and has no bundle")
        return self._bundle

    @property
    def from_bundle(self) -> bool:
        """Whether the parts come from a bundle."""
        return self._bundle is not None

    @property
    def l1_penalty(self) -> float:
        """Penalty of decompositions that are not asked for another: the bundle's, else that of SpLiCE's examples."""
        return L1_PENALTY if self._bundle is None else self._bundle.manifest.l1_penalty

    @property
    def image_encoder(self) -> Any:
        """The image tower."""
        return self._open("image_encoder")

    @property
    def text_encoder(self) -> Any:
        """The text tower with its tokenizer."""
        return self._open("text_encoder")

    @property
    def bank(self) -> ConceptBank:
        """The concepts that ranks count over."""
        bank: ConceptBank = self._open("bank")
        return bank

    @property
    def prepared_bank(self) -> PreparedBank:
        """The bank as the kernels take it; on a GPU it stays there."""
        prepared: PreparedBank = self._open("prepared_bank")
        return prepared

    @property
    def dictionary(self) -> Dictionary:
        """The vocabulary as SpLiCE uses it: words and centred unit rows."""
        dictionary: Dictionary = self._open("dictionary")
        return dictionary

    @property
    def image_mean(self) -> FloatArray:
        """Mean of unit image embeddings over a large set of images, (d,) float32."""
        mean: FloatArray = self._open("image_mean")
        return mean

    def image_tower(self, mode: str = "crops") -> ImageTower:
        """The image encoder with its preprocessing and the kernels, and what a mode of evidence needs besides.

        Raises
        ------
        InputError
            As :meth:`resolve_mode`.
        """
        mode = self.resolve_mode(mode)
        split = self._open("split_encoder") if mode in POOLED else None
        dense = self._open(mode) if mode in self.dense else None
        return ImageTower(self.image_encoder, self.preprocess, self.kernels, self.num_threads, split, dense, mode)

    @property
    def dense(self) -> list[str]:
        """The names of the dense towers, as modes: ``["dense:clearclip"]``; the first is the default."""
        return [name for name in self._sources if name.partition(":")[0] == DENSE]

    @property
    def modes(self) -> list[str]:
        """The modes of evidence that these parts can make; nothing is opened."""
        return ["crops", *(POOLED if self.has("split_encoder") else ()), *self.dense]

    @door
    def resolve_mode(self, mode: str) -> str:
        """The full name of a mode: ``"dense"`` is the first dense tower, ``"auto"`` the fastest mode whose gate holds.

        Raises
        ------
        InputError
            If these parts cannot make evidence in that way; the error says which modes there are, and why not this.
            For ``"auto"`` also if the agreement of modes was not measured.
        """
        if mode == AUTO:
            return fastest(self._bundle.manifest.agreement if self._bundle is not None else {}, self.modes)
        full = self.dense[0] if mode == DENSE and self.dense else mode
        if full in self.modes:
            return full
        absent = self._bundle.manifest.absent if self._bundle is not None else {}
        needed = POOLED[0] if mode in POOLED else mode  # what the one lacks, the other does
        reason = (_NEEDS | dict(absent)).get(needed, "there is no dense tower of that name")
        raise InputError(f'this model has no mode "{mode}": {reason}; it has: {", ".join(self.modes)}')

    def has(self, name: str) -> bool:
        """Whether there is such a part; nothing is opened."""
        manifest = self._bundle.manifest if self._bundle is not None else None
        listed = {} if manifest is None else {
            "bank": bool(manifest.banks),
            "prepared_bank": bool(manifest.banks),
            "dictionary": bool(manifest.dictionaries),
            "image_mean": bool(manifest.image_mean),
            "split_encoder": manifest.split is not None,
        }  # fmt: skip
        source = self._sources.get(name)
        if name == "prepared_bank":
            return self.has("bank")
        return source is not None and (not isinstance(source, Later) or listed.get(name, True))

    def opened(self) -> dict[str, Any]:
        """The parts that are open, by name."""
        return dict(self._opened)

    def _open(self, name: str) -> Any:
        if name in self._opened:
            return self._opened[name]
        with self._lock:
            if name not in self._opened:
                if name not in self._sources:
                    raise InputError(f"this engine was made without {name}; give it to Engine.from_parts")
                source = self._sources[name]
                part = source.make() if isinstance(source, Later) else source
                self._check(name, part)
                self._opened[name] = part
        return self._opened[name]

    def _check(self, name: str, part: Any) -> None:
        if (kind := _CHECKED.get(name)) is None:
            return
        if not isinstance(part, kind):
            raise InputError(f"{name} must be a {kind.__name__}, got {type(part).__name__}")
        rows: Any = part if isinstance(part, np.ndarray) else part.embeddings
        origin = f"{self._bundle.path}: " if self._bundle is not None else ""
        if not rows.size:
            raise BundleError(f"{origin}the {name} is empty")
        if rows.shape[-1] != self.embedding_dim:
            raise BundleError(f"{origin}rows of the {name} are {rows.shape[-1]} wide, the model's {self.embedding_dim}")

    def _prepare_bank(self) -> PreparedBank:
        with self.place:
            return self.kernels.prepare_bank(self.bank.embeddings)


def _open_bundle(path: Path, **options: Any) -> Parts:
    return Parts.of_bundle(Bundle(path), **options)


def _read_image_mean(bundle: Bundle) -> FloatArray:
    name = bundle.manifest.image_mean
    if name is None:
        raise BundleError(f"{bundle.path} has no image mean; export with --mean-images or --image-mean")
    mean = read_tensors(bundle.file(name), ["mean"])[0]["mean"]
    width = bundle.manifest.embedding_dim
    if mean.shape != (width,) or mean.dtype.kind != "f" or not np.linalg.norm(mean.astype(np.float64)) < 1.001:
        raise BundleError(f"{bundle.path / name} does not hold the mean of unit rows of {width} numbers")
    return np.ascontiguousarray(mean, np.float32)
