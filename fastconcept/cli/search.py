"""``fastconcept search``: find WordNet synsets by word and see where they hang."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from ..concepts.taxonomy import Taxonomy
from .verb import Answer, verb


@verb
def command(
    words: Annotated[
        list[str],
        typer.Argument(help="Word, part of one, or part of a definition.", show_default=False),
    ],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Largest number of synsets shown.")] = 10,
) -> Answer:
    """Find WordNet synsets by word: name, definition and path to the root."""
    taxonomy, text = Taxonomy.builtin(), " ".join(words)
    entries = [_entry(taxonomy, index) for index in taxonomy.search(text, limit)]
    lines = [line for entry in entries for line in _lines(entry)]
    return Answer(
        {"search": text, "concepts": entries},
        lines or [f"no synset has {text!r} in its words or its definition"],
    )


def _entry(taxonomy: Taxonomy, index: int) -> dict[str, Any]:
    return {
        "name": taxonomy.names[index],
        "wnid": taxonomy.wnids[index],
        "lemmas": list(taxonomy.lemmas(index, spaces=True)),
        "definition": taxonomy.definitions[index],
        "path": [taxonomy.names[node] for node in taxonomy.path_to_root(index)],
        "sub_concepts": len(taxonomy.subtree(index)) - 1,
    }


def _lines(entry: dict[str, Any]) -> list[Text]:
    return [
        Text.assemble((entry["name"], "bold"), f"  {entry['wnid']}  {', '.join(entry['lemmas'])}"),
        Text(f"  {entry['definition']}"),
        Text("  " + " < ".join(entry["path"]), style="dim"),
    ]
