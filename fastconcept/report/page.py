"""One self-contained HTML page about photographs: words, maps by level, nearest concepts. Nothing is fetched."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from ..concepts.taxonomy import Taxonomy
from ..pages.shell import html_page
from ..pages.tables import Table
from ..saliency.result import ConceptMap
from ..sparse.result import Decomposition
from .sight import Sight

if TYPE_CHECKING:
    from PIL import Image

_LEVELS = {
    "kind": ("Kinds", "broad categories"),
    "group": ("Groups", "narrower categories"),
    "thing": ("Things", "the concepts nearest to the whole image"),
    "elsewhere": ("Elsewhere", "concepts that are the nearest to some patches, but not near the whole image"),
}
_LEGEND = (
    "A map is bright where its concept ranks high among all concepts. "
    "The bar below it is the cosine of the concept and the whole image, from 0 to 1."
)
_WORDS = 14  # that are shown of a decomposition


def page(sights: Sequence[Sight], model: str, skipped: Sequence[tuple[str, str]] = ()) -> str:
    """The page for one image or many.

    Parameters
    ----------
    sights : sequence of Sight
        At least one.
    model : str
        Name of the model, shown at the top.
    skipped : sequence of (name, reason)
        Images that could not be read.

    Returns
    -------
    str
        A whole HTML document; pictures are data URIs, and its policy forbids fetching anything.
    """
    title = sights[0].name if len(sights) == 1 else f"{len(sights)} images"
    head = f"<h1>{escape(title)}</h1><p class=lead>What {escape(model)} sees.</p><p class=soft>{_LEGEND}</p>"
    if skipped:
        count = "1 file" if len(skipped) == 1 else f"{len(skipped)} files"
        reasons = "".join(f"<li><code>{escape(name)}</code>: {escape(reason)}</li>" for name, reason in skipped)
        head += f"<details><summary>{count} skipped</summary><ul>{reasons}</ul></details>"
    sections = "".join(_section(sight, titled=len(sights) > 1) for sight in sights)
    return html_page(f"{title} · fastconcept", head + sections, "report.css")


def _section(sight: Sight, titled: bool) -> str:
    from PIL import Image

    parts = [f"<h2>{escape(sight.name)}</h2>"] if titled else []
    image = _embedded(Image.fromarray(sight.image), sight.name, 800)
    parts.append(f"<div class=top>{image}<div>{_words(sight.words) if sight.words else ''}</div></div>")
    for level in sight.levels:
        title, meaning = _LEVELS[level.name]
        figures = "".join(_figure(concept, sight.taxonomy) for concept in level.maps)
        parts.append(f"<h3>{title} <small>{meaning}</small></h3><div class=row>{figures}</div>")
    rows = [(rank + 1, name, similarity, definition) for name, definition, similarity, rank in sight.scores]
    table = Table("Nearest to the whole image", ["", "concept", "cosine", "definition"], rows)
    parts.append(f"<h3>{table.title}</h3><div class=wide>{table.to_html()}</div>")
    return f"<section class=sight>{''.join(parts)}</section>"


def _words(words: Decomposition) -> str:
    heaviest = words.top(_WORDS)
    bars = "".join(
        f'<span class=w>{escape(word)}</span><span class=b style="width:{100 * weight / heaviest[0][1]:.1f}%"></span>'
        f"<span class=v>{weight:.3f}</span>"
        for word, weight in heaviest
    )
    shown = f"the {len(heaviest)} heaviest of {words.l0} words" if words.l0 > len(heaviest) else f"{words.l0} words"
    summary = f"{shown}, whose sum has cosine {words.cosine:.2f} with the image"
    return f"<h3>In words <small>{summary}</small></h3><div class=words>{bars}</div>"


def _figure(concept: ConceptMap, taxonomy: Taxonomy) -> str:
    node = taxonomy.index(concept.name)
    word, definition = taxonomy.lemmas(node, spaces=True)[0], escape(taxonomy.definitions[node])
    percent = 100 * max(0.0, min(1.0, concept.similarity))
    return (
        f"<figure>{_embedded(concept.overlay(), f'map of {word}', 464)}<figcaption><b>{escape(word)}</b>"
        f'<span class=d title="{definition}">{definition}</span>'
        f'<div class=meter title="cosine {concept.similarity:.3f}, rank {concept.rank}">'
        f'<i style="width:{percent:.0f}%"></i></div></figcaption></figure>'
    )


def _embedded(picture: Image.Image, description: str, side: int) -> str:
    picture = picture.copy()
    picture.thumbnail((side, side))
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=86)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{data}" alt="{escape(description)}">'
