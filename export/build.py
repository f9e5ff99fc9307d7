"""From a model in torch to a finished bundle, or to nothing at all."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..bundle import Bundle, Preprocess
from ..doors import iterable, number, shown
from ..errors import BundleError, ExportError, InputError
from ..kernels.threads import check_num_threads
from .clip import load_clip
from .contents import Contents
from .dense.find import check_names
from .mean import read_image_mean
from .model import Model, from_towers
from .parity import MIN_COSINE
from .parts import TowerParts
from .progress import Stages
from .staging import check_output, staging
from .writer import BundleWriter

if TYPE_CHECKING:
    import torch

COMPACT_MIN_COSINE = 0.999  # of weights rounded to 16 bits and token tables to 8
DENSE = ("clearclip",)  # passes that are written by default: the cheapest, and one as good as any
_LARGEST_SCALE = 1e6
_WORDNET_LICENCE = "WordNet 3.0, Princeton University (WordNet licence): names and definitions of the concepts"


def export_model(
    *,
    image: torch.nn.Module,
    text: torch.nn.Module,
    tokenizer: Any,
    preprocess: Preprocess,
    out: str | os.PathLike[str],
    name: str,
    context_length: int | None = None,
    text_length: str = "fixed",
    logit_scale: float = 100.0,
    image_parts: tuple[torch.nn.Module, torch.nn.Module] | None = None,
    dense: Sequence[str] = (),
    transform: Callable[[Any], Any] | None = None,
    licences: Sequence[str] = (),
    contents: Contents | None = None,
    compact: bool = False,
    overwrite: bool = False,
    min_cosine: float | None = None,
    num_threads: int | None = None,
    progress: bool = True,
) -> Bundle:
    """Export two towers in torch to a bundle that runs without torch.

    Everything is written to a hidden directory beside ``out`` and renamed at the end, so that an export which fails
    or is interrupted leaves nothing behind. The files are then compared with the towers they come from, and a bundle
    below the tolerance is not written.

    Parameters
    ----------
    image : torch.nn.Module
        The image tower: normalised pixels (n, 3, h, w) float32, of the size in ``preprocess``, to embeddings (n, d).
        Rows need not be of unit length. The module is in float32 on the CPU; it is put into evaluation mode.
    text : torch.nn.Module
        The text tower: token ids (n, context_length) int64 to embeddings (n, d); otherwise like ``image``.
    tokenizer : object or path
        A tokenizer of open_clip, a fast tokenizer of transformers, a ``tokenizers.Tokenizer``, or the path of a
        ``tokenizer.json``.
    preprocess : Preprocess
        How a photograph becomes pixels.
    out : path
        The bundle's directory; it must not exist, or be empty, or be a bundle and ``overwrite``.
    name : str
        The model's name in the manifest.
    context_length : int, optional
        Most tokens of a text; by default the tokenizer's limit.
    text_length : {"fixed", "dynamic"}
        "dynamic" for a text tower that returns the same row however far the tokens are padded, up to
        ``context_length``: short texts are then encoded faster.
    logit_scale : float
        The factor that the model was trained to multiply cosines by, for zero-shot probabilities.
    image_parts : (torch.nn.Module, torch.nn.Module), optional
        For an image tower that pools a feature map: its trunk, pixels (n, 3, H, W) to maps (n, c, h, w) at any size
        that is a multiple of its stride, and its head, means (n, c) to unit rows. The bundle then has the mode
        "windows", if ``head(mean of trunk(pixels))`` is the whole tower to 1e-5; else a warning says why not.
    dense : sequence of str
        As for :func:`export_open_clip`, for towers that hold a transformer of open_clip, timm or transformers'
        ``CLIPModel``; none by default.
    transform : callable, optional
        The model's own preprocessing, from a Pillow image to (3, h, w), for the parity report to compare with
        ``preprocess``. Without it the report starts from the same pixels on both sides.
    licences : sequence of str
        Terms of the model, a line each.
    contents : Contents, optional
        The concepts, words and photographs to export with it.
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
        If a tower, the tokenizer, a file or the output directory is not what it should be, or the exported model does
        not agree with the original.
    InputError
        If an argument is of the wrong type or out of range.
    ConceptError
        If a root is not a noun synset.
    MissingDependencyError
        If the ``export`` extra is not installed.
    """

    def load() -> Model:
        parts = None if image_parts is None else TowerParts(*image_parts)
        return from_towers(
            image, text, tokenizer, preprocess, name, context_length, text_length, logit_scale, transform, parts,
            bool(names),
        )  # fmt: skip

    for what, value, kind in (("name", name, str), ("preprocess", preprocess, Preprocess)):
        if not isinstance(value, kind) or not value:
            raise InputError(f"{what} must be a {kind.__name__}, got {shown(value)}")
    if not 0 < (logit_scale := number("logit_scale", logit_scale)) <= _LARGEST_SCALE:
        raise InputError(f"logit_scale must be above 0 and at most {_LARGEST_SCALE:.0f}, got {logit_scale}")
    if image_parts is not None and not (isinstance(image_parts, tuple) and len(image_parts) == 2):
        raise InputError(f"image_parts must be a trunk and a head, got {shown(image_parts)}")
    names = check_names(tuple(iterable("dense", dense)))
    settings = _Settings(compact, overwrite, min_cosine, num_threads, progress, names)
    return _export(name, load, out, contents, licences, settings)


def export_open_clip(
    model: str,
    out: str | os.PathLike[str],
    *,
    pretrained: str | None = None,
    contents: Contents | None = None,
    dense: Sequence[str] = DENSE,
    compact: bool = False,
    overwrite: bool = False,
    min_cosine: float | None = None,
    num_threads: int | None = None,
    progress: bool = True,
) -> Bundle:
    """Export an open_clip model to a bundle that runs without torch.

    Parameters
    ----------
    model : str
        An architecture of open_clip (``ViT-B-32``), ``hf-hub:owner/name`` or ``local-dir:path``.
    out : path
        The bundle's directory; it must not exist, or be empty, or be a bundle and ``overwrite``.
    pretrained : str, optional
        A pretrained tag or checkpoint file, for an architecture's name.
    dense : sequence of str
        Which dense passes to write, for the mode "dense": names of :data:`fastconcept.export.dense.attention.CHANGES`,
        the default first. Those that the tower does not have are left out, and the manifest says why.
    contents, compact, overwrite, min_cosine, num_threads, progress
        As for :func:`export_model`, and so are result and errors.
    """
    names = check_names(tuple(iterable("dense", dense)))
    settings = _Settings(compact, overwrite, min_cosine, num_threads, progress, names)
    return _export(model, lambda: load_clip(model, pretrained), out, contents, (), settings)


class _Settings(NamedTuple):
    """What both doors take, in the order of their parameters."""

    compact: bool
    overwrite: bool
    min_cosine: float | None
    num_threads: int | None
    progress: bool
    dense: tuple[str, ...] = ()

    @property
    def tolerance(self) -> float:
        """The least cosine that the parity report may have."""
        if self.min_cosine is not None:
            return self.min_cosine
        return COMPACT_MIN_COSINE if self.compact else MIN_COSINE


def _export(
    name: str,
    load: Callable[[], Model],
    out: str | os.PathLike[str],
    contents: Contents | None,
    licences: Sequence[str],
    settings: _Settings,
) -> Bundle:
    """Refuse what can be refused, load the model, and write and measure its bundle."""
    check_num_threads(settings.num_threads)
    number("min_cosine", settings.tolerance)
    if not all(isinstance(line, str) for line in iterable("licences", licences)):
        raise InputError(f"licences must be strings, got {shown(licences)}")
    contents = Contents() if contents is None else contents
    if not isinstance(contents, Contents):
        raise InputError(f"contents must be Contents, got {shown(contents)}")
    try:
        target = Path(os.fsdecode(out)).resolve()
        check_output(target, settings.overwrite)
    except (OSError, TypeError, ValueError) as error:
        raise ExportError(f"out must be a path that can be written, got {shown(out)}: {error}") from None
    plan = contents.plan()
    stages = Stages(settings.progress)
    with stages.stage(f"loading {name}"):
        model = load()
        if plan.image_mean is not None:
            read_image_mean(plan.image_mean, model.embedding_dim, plan.image_mean_name)
    with staging(target, settings.overwrite) as folder:
        try:
            writer = BundleWriter(model, folder, stages, settings.num_threads, settings.compact)
            tokenizer = writer.write_tokenizer()
            original = writer.run_original(tokenizer, plan.texts, plan.photos)
            writer.write_encoders(tokenizer)
            writer.write_split()
            writer.write_dense(settings.dense)
            writer.share_image_weights()
            writer.write_parity(original, settings.tolerance)
            writer.write_contents(plan)
            writer.write_agreement(plan)
            writer.write_manifest((*licences, *([_WORDNET_LICENCE] if plan.from_wordnet else [])), plan.l1_penalty)
        except BundleError as error:  # it names a directory that is about to be deleted
            reason = str(error).replace(f"{folder}{os.sep}", "")
            raise ExportError(f"the exported {name} does not run as it should: {reason}") from error
    return Bundle(target)
