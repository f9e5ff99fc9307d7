"""``fastconcept export``: a model of open_clip becomes a bundle, and a bundle gets a TensorRT plan."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError
from .options import OutputOption, split
from .verb import Answer, Shared, verb

DENSE_PASSES = ("clearclip",)  # as in fastconcept.export.build, which is not imported for help alone
_contents = partial(typer.Option, rich_help_panel="Contents of the bundle")
_plan = partial(typer.Option, rich_help_panel="TensorRT")


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
    bundle: Annotated[
        str | None, _plan("--bundle", "-b", help="A bundle that is there, instead of a model to export.")
    ] = None,
    device: Annotated[str, _plan(help="cuda:N, the GPU that will run the plan.")] = "cuda:0",
    precision: Annotated[str, _plan(help="float16, bfloat16 or float32.")] = "float16",
    batch_sizes: Annotated[list[str], _plan(help="Batch sizes that the plan runs at, with commas.")] = ["1,16,64,256"],
    lean: Annotated[bool, _plan("--lean", help="Make the plan run on TensorRT's lean runtime, too.")] = False,
) -> dict[str, Any] | None:
    """Keywords of :func:`fastconcept.export.tensorrt.build.build_plan`, or None without ``--tensorrt``."""
    if not tensorrt:
        if bundle is not None:
            raise InputError("--bundle is the bundle that --tensorrt builds a plan for; give both")
        return None
    sizes = split(batch_sizes, int, "--batch-sizes")
    return {"bundle": bundle, "device": device, "precision": precision, "batch_sizes": sizes, "lean": lean}


@verb
def command(
    contents: Annotated[dict[str, Any], Shared(contents)],
    plan: Annotated[dict[str, Any] | None, Shared(plan)],
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
    """Turn an open_clip model into a bundle (needs the extra named export), or build a bundle's TensorRT plan."""
    if model is None and plan is None:
        raise InputError("name a model to export, such as ViT-B-32, or build the plan of a bundle with --tensorrt")
    if model is not None and out is None:
        raise InputError("name the directory of the new bundle with -o")
    if plan is not None and model is not None and plan["bundle"] is not None:
        raise InputError("--bundle and a model to export exclude each other; give one")
    document: dict[str, Any] = {}
    text: list[str] = []
    if model is not None and out is not None:
        from fastconcept.export import Contents, export_open_clip

        bundle = export_open_clip(
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
        manifest = bundle.manifest
        document = {"bundle": str(out), "model": manifest.model, "parity": dict(manifest.parity)}
        text = [f"wrote {out}: {manifest.model}, {manifest.embedding_dim} dimensions"]
        text += [f"  parity {name}: {value}" for name, value in manifest.parity.items()]
    if plan is not None:
        from fastconcept.export.tensorrt.build import build_plan

        path = build_plan(**plan | ({"bundle": out} if model is not None else {}))
        document["plan"] = str(path)
        text.append(f"the TensorRT plan is {path}")
    return Answer(document, text)
