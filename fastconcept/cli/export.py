"""``fastconcept export``: a model of open_clip becomes a bundle, and a bundle gets a TensorRT plan."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..bundle import L1_PENALTY
from ..errors import InputError
from . import output
from .options import OutputOption, split
from .verb import Answer, Shared, verb

DENSE_PASSES = ("clearclip",)  # as in fastconcept.export.build, which is not imported for help alone
_contents = partial(typer.Option, rich_help_panel="Contents of the bundle")
_plan = partial(typer.Option, rich_help_panel="TensorRT")
_repository = partial(typer.Option, rich_help_panel="Triton")
_served = partial(typer.Option, rich_help_panel="TensorRT and Triton")
BundleOption = Annotated[
    str | None, _served("--bundle", "-b", help="A bundle that is there, instead of a model to export.")
]
DeviceOption = Annotated[
    str | None,
    _served(help="cuda:N, the GPU that will run the plan (by default cuda:0); for Triton cpu (the default) or cuda."),
]


def contents(
    words: Annotated[Path | None, _contents(help="Concept bank: all senses of these words, with hypernyms.")] = None,
    roots: Annotated[
        list[str] | None, _contents(metavar="SYNSETS", help="Concept bank: everything below these, with commas.")
    ] = None,
    synsets: Annotated[Path | None, _contents(help="Concept bank: just these synsets, one a line.")] = None,
    nouns: Annotated[bool, _contents("--nouns", help="Concept bank: all 82,115 nouns of WordNet.")] = False,
    phrases: Annotated[Path | None, _contents(help="Concept bank: phrases, one a line.")] = None,
    vocabulary: Annotated[Path | None, _contents(help="Dictionary: words, one a line, rarest first.")] = None,
    vocabulary_size: Annotated[
        int, _contents(min=0, help="Words of the vocabulary to use, from the end; 0 for no dictionary.")
    ] = 10_000,
    l1_penalty: Annotated[
        float, _contents("--l1-penalty", help="Penalty of decompositions that are not asked for another.")
    ] = L1_PENALTY,
    mean_images: Annotated[Path | None, _contents(help="Folder of images for the image mean.")] = None,
    mean_limit: Annotated[int | None, _contents(min=1, help="Size of a seeded sample of these images.")] = None,
    image_mean: Annotated[Path | None, _contents(help="The image mean itself (.safetensors).")] = None,
    image_mean_name: Annotated[str | None, _contents(help="Which tensor of that file.")] = None,
    wordnet: Annotated[Path | None, _contents(help="WordNet database instead of the built-in taxonomy.")] = None,
) -> dict[str, Any]:
    """Keywords of :class:`fastconcept.export.Contents`."""
    return {
        "words": words,
        "roots": [root for root in split(roots, str, "--roots") if root] if roots else None,
        "synsets": synsets,
        "nouns": nouns,
        "phrases": phrases,
        "vocabulary": vocabulary,
        "vocabulary_size": vocabulary_size,
        "l1_penalty": l1_penalty,
        "mean_images": mean_images,
        "mean_limit": mean_limit,
        "image_mean": image_mean,
        "image_mean_name": image_mean_name,
        "wordnet": wordnet,
    }


def plan(
    tensorrt: Annotated[
        bool, _plan("--tensorrt", help="Build the TensorRT plan of a bundle's image encoder for a GPU of this machine.")
    ] = False,
    bundle: BundleOption = None,
    device: DeviceOption = None,
    precision: Annotated[str, _plan(help="float16, bfloat16 or float32.")] = "float16",
    batch_sizes: Annotated[list[str], _plan(help="Batch sizes that the plan runs at, with commas.")] = ["1,16,64,256"],
    lean: Annotated[bool, _plan("--lean", help="Make the plan run on TensorRT's lean runtime, too.")] = False,
) -> dict[str, Any] | None:
    """Keywords of :func:`fastconcept.export.tensorrt.build.build_plan`, or None without ``--tensorrt``."""
    if not tensorrt:
        return None
    sizes = split(batch_sizes, int, "--batch-sizes")
    device = device or "cuda:0"
    return {"bundle": bundle, "device": device, "precision": precision, "batch_sizes": sizes, "lean": lean}


def repository(
    triton: Annotated[
        Path | None, _repository("--triton", metavar="DIR", help="Write a model repository of a bundle for Triton.")
    ] = None,
    bundle: BundleOption = None,
    device: DeviceOption = None,
    max_batch: Annotated[int, _repository(min=1, help="Images that are encoded together.")] = 32,
    max_delay: Annotated[float, _repository(min=0.001, help="Milliseconds that a request waits for others.")] = 2.0,
    instances: Annotated[int, _repository(min=1, help="Copies of each model on each device.")] = 1,
) -> dict[str, Any] | None:
    """Keywords of :func:`fastconcept.export.triton.export_triton`, or None without ``--triton``."""
    if triton is None:
        return None
    return {
        "folder": triton,
        "bundle": bundle,
        "device": device or "cpu",
        "max_batch": max_batch,
        "max_delay": max_delay,
        "instances": instances,
    }


@verb
def command(
    contents: Annotated[dict[str, Any], Shared(contents)],
    plan: Annotated[dict[str, Any] | None, Shared(plan)],
    repository: Annotated[dict[str, Any] | None, Shared(repository)],
    bundle: BundleOption = None,
    model: Annotated[
        str | None,
        typer.Argument(help="open_clip model: a name, hf-hub:owner/name or local-dir:DIR.", show_default=False),
    ] = None,
    out: Annotated[Path | None, OutputOption(help="Directory of the new bundle.", show_default=False)] = None,
    pretrained: Annotated[str | None, typer.Option(help="open_clip tag, for instance laion2b_s34b_b79k.")] = None,
    dense: Annotated[
        list[str], typer.Option(metavar="NAMES", help="Passes of mode dense, with commas; the first is its default.")
    ] = [",".join(DENSE_PASSES)],
    compact: Annotated[bool, typer.Option("--compact", help="Weights in 16 and 8 bits: a smaller bundle.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
    min_cosine: Annotated[
        float | None,
        typer.Option(help="Least cosine of exported and original embeddings; by default 0.99999, compact 0.999."),
    ] = None,
    num_threads: Annotated[int | None, typer.Option(help="CPU threads; by default all that are granted.")] = None,
) -> Answer:
    """Turn an open_clip model into a bundle (needs the extra named export), or a bundle into a plan or a repository."""
    made_of_it = [each for each in (plan, repository) if each is not None]
    if model is None and not made_of_it:
        raise InputError("name a model to export, such as ViT-B-32, or what to make of a bundle: --tensorrt, --triton")
    if model is not None and out is None:
        raise InputError("name the directory of the new bundle with -o")
    if bundle is not None and not made_of_it:
        raise InputError("--bundle is the bundle that --tensorrt or --triton makes something of; give both")
    if bundle is not None and model is not None:
        raise InputError("--bundle and a model to export exclude each other; give one")
    document: dict[str, Any] = {}
    text: list[str] = []
    if model is not None and out is not None:
        from fastconcept.export import Contents, export_open_clip

        exported = export_open_clip(
            model,
            out,
            pretrained=pretrained,
            contents=Contents(**contents),
            dense=[name for name in split(dense, str, "--dense") if name],
            compact=compact,
            overwrite=overwrite,
            min_cosine=min_cosine,
            num_threads=num_threads,
        )
        manifest = exported.manifest
        document = {"bundle": str(out), "model": manifest.model, "parity": dict(manifest.parity)}
        text = [f"wrote {out}: {manifest.model}, {manifest.embedding_dim} dimensions"]
        text += [f"  parity {name}: {value}" for name, value in manifest.parity.items()]
    if plan is not None:
        from fastconcept.export.tensorrt.build import build_plan

        path = build_plan(**plan | ({"bundle": out} if model is not None else {}))
        document["plan"] = str(path)
        text.append(f"the TensorRT plan is {path}")
    if repository is not None:
        from fastconcept.export.triton import export_triton

        names = export_triton(**repository | ({"bundle": out} if model is not None else {}), overwrite=overwrite)
        document |= {"repository": str(repository["folder"]), "models": names}
        text.append(f"wrote {output.printable(str(repository['folder']))}: {', '.join(names)}")
    return Answer(document, text)
