"""One self-contained HTML page about images: maps by level, words, scores. Nothing is fetched."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from ..concepts.taxonomy import Taxonomy
from ..pages.shell import html_page
from ..saliency.result import ConceptMap
from .sight import Level, Sight

if TYPE_CHECKING:
    from PIL import Image

_TITLES = {
    "kind": ("Kinds", "the broadest concepts that say something"),
    "group": ("Groups", "one step closer"),
    "thing": ("Things", "the concepts nearest to the whole image"),
    "elsewhere": ("Elsewhere", "concepts that win some patches without being near the whole image"),
}


def page(sights: Sequence[Sight], model: str, skipped: Sequence[tuple[str, str]] = ()) -> str:
    """The page for one image or many.

    Parameters
    ----------
    sights : sequence of Sight
    model : str
        Named at the top.
    skipped : sequence of (name, reason)
        Images that could not be read.

    Returns
    -------
    str
        A whole HTML document; pictures are data URIs, and its policy forbids fetching anything.
    """
    title = sights[0].name if len(sights) == 1 else f"{len(sights)} images"
    head = f"<h1>{html.escape(title)}</h1><p class=soft>What {html.escape(model)} sees, by fastconcept.</p>"
    lost = "".join(f"<li><code>{html.escape(n)}</code>: {html.escape(why)}</li>" for n, why in skipped)
    note = f"<p class=soft>{len(skipped)} files were skipped:</p><ul>{lost}</ul>" if skipped else ""
    body = "".join(_section(sight, len(sights) > 1) for sight in sights)
    return html_page(f"{title} · fastconcept", head + note + body, "report.css")


def _section(sight: Sight, named: bool) -> str:
    title = f"<h2>{html.escape(sight.name)}</h2>" if named else ""
    levels = "".join(_level(level) for level in sight.levels)
    top = f"<div class=top>{_picture(sight.image, sight.name)}<div>{_words(sight)}</div></div>"
    return f"<section class=sight>{title}{top}{levels}{_scores(sight)}</section>"


def _picture(pixels: object, name: str) -> str:
    from PIL import Image

    return _embedded(Image.fromarray(pixels), name, (800, 800))  # type: ignore[arg-type]


def _embedded(picture: Image.Image, description: str, size: tuple[int, int]) -> str:
    picture = picture.copy()
    picture.thumbnail(size)
    stream = BytesIO()
    picture.save(stream, "JPEG", quality=86)
    data = base64.b64encode(stream.getvalue()).decode("ascii")
    return f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(description, quote=True)}">'


def _words(sight: Sight) -> str:
    if sight.words is None:
        return ""
    found = sight.words.top(14)
    longest = found[0][1] if found else 1.0
    rows = "".join(
        f'<span class=w>{html.escape(word)}</span><span class=b style="width:{100 * weight / longest:.1f}%"></span>'
        f"<span class=v>{weight:.3f}</span>"
        for word, weight in found
    )
    told = f"{sight.words.l0} words say it with cosine {sight.words.cosine:.2f}"
    return f"<h3>In words <small class=soft>{told}</small></h3><div class=words>{rows}</div>"


def _level(level: Level) -> str:
    title, meaning = _TITLES[level.name]
    figures = "".join(_figure(concept) for concept in level.maps)
    return f"<h3>{title} <small class=soft>{meaning}</small></h3><div class=row>{figures}</div>"


def _figure(concept: ConceptMap) -> str:
    wordnet = Taxonomy.builtin()
    index = wordnet.index(concept.name)
    lemma, definition = wordnet.lemmas(index, spaces=True)[0], wordnet.definitions[index]
    share = max(0.0, min(1.0, concept.similarity))
    return (
        f"<figure>{_embedded(concept.overlay(), f'map of {lemma}', (464, 464))}<figcaption>"
        f"<b>{html.escape(lemma)}</b><span class=d>{html.escape(definition)}</span>"
        f'<div class=meter title="similarity {concept.similarity:.3f}, rank {concept.rank}">'
        f'<i style="width:{100 * share:.0f}%"></i></div></figcaption></figure>'
    )


def _scores(sight: Sight) -> str:
    rows = "".join(
        f"<tr><td class=n>{rank + 1}</td><td>{html.escape(name)}</td><td class=n>{similarity:.3f}</td>"
        f"<td class=d>{html.escape(definition)}</td></tr>"
        for name, definition, similarity, rank in sight.scores
    )
    head = "<tr><th class=n></th><th>concept</th><th class=n>similarity</th><th>definition</th></tr>"
    table = f"<table><thead>{head}</thead><tbody>{rows}</tbody></table>"
    return f"<h3>Nearest to the whole image</h3><div class=wide>{table}</div>"
