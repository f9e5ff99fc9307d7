"""``fastconcept export``: an open_clip model becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import output
from .verb import JsonOption


def command(
    model: Annotated[str, typer.Argument(help="open_clip model: a name, hf-hub:owner/name or local-dir:DIR.")],
    out: Annotated[Path, typer.Option("--output", "-o", help="Directory of the new bundle.", show_default=False)],
    pretrained: Annotated[str | None, typer.Option(help="open_clip tag, for instance laion2b_s34b_b79k.")] = None,
    words: Annotated[Path | None, typer.Option(help="Concept bank: all senses of these words, with hypernyms.")] = None,
    roots: Annotated[str | None, typer.Option(help="Concept bank: everything below these synsets (a,b,c).")] = None,
    synsets: Annotated[Path | None, typer.Option(help="Concept bank: just these synsets, one a line.")] = None,
    nouns: Annotated[bool, typer.Option("--nouns", help="Concept bank: all 82,115 nouns of WordNet.")] = False,
    phrases: Annotated[Path | None, typer.Option(help="Concept bank: phrases, one a line.")] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="Dictionary: words, one a line, rarest first.")] = None,
    vocabulary_size: Annotated[int, typer.Option(min=0, help="Words of it to use, from the end; 0 for none.")] = 10_000,
    mean_images: Annotated[Path | None, typer.Option(help="Folder of images for the image mean.")] = None,
    mean_limit: Annotated[int | None, typer.Option(min=1, help="Use a seeded sample of so many of them.")] = None,
    image_mean: Annotated[Path | None, typer.Option(help="The image mean itself (.safetensors).")] = None,
    image_mean_name: Annotated[str | None, typer.Option(help="Which tensor of that file.")] = None,
    wordnet: Annotated[Path | None, typer.Option(help="WordNet database instead of the built-in taxonomy.")] = None,
    compact: Annotated[bool, typer.Option("--compact", help="Weights in 16 and 8 bits: a smaller bundle.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a bundle that is there.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn an open_clip model into a bundle (needs the extra named export)."""
    from fastconcept.export import Contents, export_open_clip

    contents = Contents(
        words=words,
        roots=[root.strip() for root in roots.split(",") if root.strip()] if roots else None,
        synsets=synsets,
        nouns=nouns,
        phrases=phrases,
        vocabulary=vocabulary,
        vocabulary_size=vocabulary_size,
        mean_images=mean_images,
        mean_limit=mean_limit,
        image_mean=image_mean,
        image_mean_name=image_mean_name,
        wordnet=wordnet,
    )
    bundle = export_open_clip(
        model, out, pretrained=pretrained, contents=contents, compact=compact, overwrite=overwrite
    )
    manifest = bundle.manifest
    if as_json:
        output.print_json({"bundle": str(out), "model": manifest.model, "parity": dict(manifest.parity)})
        return
    console = output.console()
    console.print(f"wrote {out}: {manifest.model}, {manifest.embedding_dim} dimensions")
    for name, value in manifest.parity.items():
        console.print(f"  parity {name}: {value}")
