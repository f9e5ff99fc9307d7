"""``fastconcept concepts``: find WordNet synsets by word and see where they hang."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.text import Text

from ..concepts.taxonomy import Taxonomy
from . import output
from .options import JsonOption


def command(
    search: Annotated[str, typer.Argument(help="A word, part of one, or part of a definition.")],
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Synsets shown at most.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Find synsets by word; each with its definition and its path to the root."""
    taxonomy = Taxonomy.builtin()
    found = taxonomy.search(search, limit)
    if as_json:
        output.print_json({"search": search, "concepts": [_entry(taxonomy, index) for index in found]})
        return
    console = output.console()
    for index in found:
        entry = _entry(taxonomy, index)
        console.print(Text.assemble((entry["name"], "bold"), f"  {entry['wnid']}  {', '.join(entry['lemmas'])}"))
        console.print(f"  {entry['definition']}")
        console.print("  " + " < ".join(entry["path"]), style="dim")
    if not found:
        console.print(f"no synset has {search!r} in its words or definition")


def _entry(taxonomy: Taxonomy, index: int) -> dict[str, Any]:
    return {
        "name": taxonomy.names[index],
        "wnid": taxonomy.wnids[index],
        "lemmas": list(taxonomy.lemmas(index, spaces=True)),
        "definition": taxonomy.definitions[index],
        "path": [taxonomy.names[node] for node in taxonomy.path_to_root(index)],
        "sub_concepts": len(taxonomy.subtree(index)) - 1,
    }
