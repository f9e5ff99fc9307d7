"""``fastconcept info``: what is installed, what the machine can do, and which bundles there are."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from ..bundle import Bundle, Manifest, find_bundle, installed_bundles
from ..environment import environment
from ..errors import BundleError
from ..saliency.agreement import holds
from ..saliency.layout import POOLED
from .verb import Answer, verb


@verb
def command(
    bundle: Annotated[str | None, typer.Option("--bundle", "-b", help="Also verify every file of this bundle.")] = None,
) -> Answer:
    """Show versions, hardware and bundles: what belongs in a bug report."""
    facts = {**environment(), "bundles": _bundles(bundle)}
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column()
    for key, value in facts.items():
        table.add_row(key.replace("_", " "), _shown(value))
    return Answer(facts, [table])


def _bundles(named: str | None) -> list[dict[str, Any]]:
    paths = installed_bundles()
    if named is not None:
        chosen = find_bundle(named)
        Bundle(chosen).verify()
        paths = [chosen, *(path for path in paths if path != chosen)]
    entries: list[dict[str, Any]] = []
    for path in paths:
        try:
            manifest = Bundle(path).manifest
        except BundleError as error:
            entries.append({"path": str(path), "error": str(error)})
            continue
        entries.append(
            {
                "path": str(path),
                "model": manifest.model,
                "pretrained": manifest.pretrained,
                "dim": manifest.embedding_dim,
                "banks": list(manifest.banks),
                "dictionaries": list(manifest.dictionaries),
                "modes": _modes(manifest),
                "absent": dict(manifest.absent),
                "agreement": {mode: {**entry, "holds": holds(entry)} for mode, entry in manifest.agreement.items()},
            }
        )
    return entries


def _agreement(mode: str, numbers: dict[str, Any]) -> str:
    present = ", ".join(f"{name} {value:g}" for name, value in numbers["present"].items() if name != "maps")
    verdict = "auto may take it" if numbers["holds"] else "not for auto"
    return f"{mode} beside crops on {numbers['photographs']} photographs: {present} ({verdict})"


def _modes(manifest: Manifest) -> list[str]:
    pooled = () if manifest.split is None else POOLED
    dense = [] if manifest.dense is None else [f"dense:{name}" for name in manifest.dense.towers]
    return ["crops", *pooled, *dense]


def _shown(value: object) -> str:
    """A fact in words: flags that are set, names with their versions, one line per bundle."""
    if isinstance(value, dict):
        return ", ".join(
            name if item is True else f"{name} {item}" for name, item in value.items() if item is not False
        )
    if isinstance(value, list):
        return "\n".join(_bundle(item) if isinstance(item, dict) else str(item) for item in value) or "none"
    return "none" if value is None else str(value)


def _bundle(entry: dict[str, Any]) -> str:
    if "error" in entry:
        return f"{entry['path']}: {entry['error']}"
    named = " ".join(filter(None, (entry["model"], entry["pretrained"])))
    parts = [f"{entry['dim']} dimensions"]
    parts += [f"{kind} {', '.join(entry[kind])}" for kind in ("banks", "dictionaries", "modes") if entry[kind]]
    parts += [_agreement(mode, numbers) for mode, numbers in entry["agreement"].items()]
    parts += [f"no {mode} ({reason})" for mode, reason in entry["absent"].items()]
    return f"{entry['path']}: {named}, {', '.join(parts)}"
