"""SpLiCE's probes, ablations and curves on labelled photographs, beside what the paper claims, as one page.

    python -m benchmarks.splice ../shared/data/dev --bundle builtin --bundle teacher=DIR --docs docs/evaluate

runs, bundle by bundle, every command of :func:`runs` that has no report in ``--work`` yet, then writes
``benchmarks/results/splice.json``, ``splice.md`` and ``splice.html``. Reports belong to one version of a bundle: where
its manifest has changed, they are made anew. No picture of the data is copied into the results.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import tasks
from benchmarks.tasks_page import document, in_full
from fastconcept.environment import environment
from fastconcept.files import whole_file
from fastconcept.pages.shell import html_page
from fastconcept.pages.tables import Table

Run = Mapping[str, Any]
# What figure 5 claims, the designs that test it, and the measures that it speaks of.
CLAIMS = {
    "nonnegativity helps": ("signed",),
    "centring helps": ("no image mean", "no dictionary mean", "no means"),
    "a large dictionary helps": ("own:100", "own:300", "own:1000", "own:3000"),
    "words that name things help": ("random-rows", "random-words"),
    "the lasso helps": ("omp", "nearest"),
}
MEASURES = {"top1": "top-1", "cosine": "cosine", "relevance": "relevance"}
ASKED = 10  # words, at which claims are judged
PAGES = {"probe": "probe-cifar10", "ablate": "ablate-ilsvrc"}


def runs(data: str, work: Path) -> dict[str, list[str]]:
    """Name to arguments of ``fastconcept evaluate``."""
    cifar, ilsvrc = str(work / "cifar10"), ["--where", "subset=ilsvrc_val*", "--templates", "{definition}"]
    captions, swept = ["--captions", data], ["--l1-penalties", "0.15,0.25,0.35"]
    curves = ["--dictionaries", "own:1000,classes,random-words,captions", *captions]
    curves += ["--l1-penalties", "0.05,0.1,0.15,0.2,0.25,0.35"]
    return {
        "probe-cifar10": ["probe", cifar, *swept],
        "probe-caltech101": ["probe", data, "--where", "subset=caltech101", *swept],
        "ablate-ilsvrc": ["ablate", data, *ilsvrc, *captions],
        "ablate-cifar10": ["ablate", cifar, *captions],
        "curve-ilsvrc": ["zeroshot", data, *ilsvrc, *curves],
        "curve-cifar10": ["zeroshot", cifar, *curves],
    }


def write_cifar(data: Path, folder: Path) -> None:
    """The photographs of ``cifar10_test_subset.npz`` as a directory with one directory of images per synset."""
    from PIL import Image

    with np.load(data / "cifar10_test_subset.npz", allow_pickle=False) as arrays:
        for k, (pixels, label) in enumerate(zip(arrays["images"], arrays["labels"], strict=True)):
            path = folder / str(arrays["synsets"][label]) / f"{k:03}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.is_file():
                Image.fromarray(pixels).save(path)


def claims(bundles: Mapping[str, Mapping[str, Run]]) -> Table:
    """For each claim, design, measure and run: the difference that the design makes, and whether that agrees."""
    rows = []
    for claim, designs in CLAIMS.items():
        for design in designs:
            for bundle, name, row in _ablated(bundles, design):
                for measure, title in MEASURES.items():
                    _, low, high = lift = tuple(row["against"][measure])
                    verdict = "agrees" if high < 0 else "disagrees" if low > 0 else "no sure difference"
                    rows.append([claim, design, title, bundle, name, lift, verdict])
    columns = ["claim", "without it", "measure", "bundle", "run", "difference to SpLiCE", "the claim"]
    note = (
        f"All with {ASKED} words asked for; 95 % paired bootstrap intervals over images. A claim agrees where the "
        "design without it is surely worse."
    )
    return Table("Against the paper's claims", columns, rows, note)


def _ablated(bundles: Mapping[str, Mapping[str, Run]], design: str) -> Iterator[tuple[str, str, Run]]:
    for bundle, found in bundles.items():
        for name, run in found.items():
            for row in run["rows"] if run["task"] == "ablate" else ():
                if row["design"] == design and row["asked"] == ASKED:
                    yield bundle, name, row


def kept(bundles: Mapping[str, Mapping[str, Run]]) -> Table:
    """How much zero-shot accuracy the words keep at which cosine, and from how many words on they keep 95 %."""
    rows: list[list[object]] = []
    for bundle, found in bundles.items():
        for name, run in found.items():
            if run["task"] == "zeroshot":
                near = min(run["rows"][1:], key=lambda row: abs(row["l0"] - 20))
                at = {words: "–" if l0 is None else f"{l0:.0f}" for words, l0 in run["words_to_keep_95"].items()}
                others = ", ".join(f"{words} {l0}" for words, l0 in at.items() if words != "own")
                numbers = [near["l0"], near["cosine"], near["top1"], tuple(near["against_dense"])]
                rows.append([bundle, name, run["rows"][0]["top1"], *numbers, at["own"], others])
    columns = ["bundle", "run", "dense top-1", "words", "cosine", "top-1", "against dense", "words for 95 %", "others"]
    note = "The row of about 20 words. The fewest words tried that keep 95 % of dense accuracy; a dash: none did."
    return Table("Zero-shot accuracy is kept at a low cosine", columns, rows, note)


def probed(bundles: Mapping[str, Mapping[str, Run]]) -> Table:
    """The probes of each run at each sparsity."""
    kinds = ["codes", "recomposed", "dense to recomposed", "recomposed to dense"]
    nulls = ["random vocabulary", "random projection", "shuffled labels"]
    rows: list[list[object]] = []
    for bundle, found in bundles.items():
        for name, run in found.items():
            listed = run["rows"] if run["task"] == "probe" else []
            for codes in (row for row in listed if row["input"] == "codes"):
                same = {row["input"]: row for row in listed if row["l1_penalty"] == codes["l1_penalty"]}
                rows.append(
                    [bundle, name, listed[0]["accuracy"], codes["l0"], codes["used"]]
                    + [same[kind]["accuracy"] for kind in kinds]
                    + [tuple(codes["against_dense"])]
                    + [same[null]["accuracy"] for null in nulls]
                )
    columns = ["bundle", "run", "dense", "words", "words used", *kinds, "codes against dense", *nulls]
    return Table("Accuracy of linear probes", columns, rows)


def verdicts(table: Table) -> list[str]:
    """One sentence per claim: on how many measures and runs it agrees."""
    lines = []
    for claim in CLAIMS:
        told = [str(row[-1]) for row in table.rows if row[0] == claim]
        count = {verdict: told.count(verdict) for verdict in ("agrees", "disagrees", "no sure difference")}
        listed = ", ".join(f"{number} {verdict}" for verdict, number in count.items() if number)
        lines.append(f"{claim[0].upper()}{claim[1:]}: {listed or 'not measured'}.")
    return lines


def write(
    results: Path,
    reports: Mapping[str, Mapping[str, Path]],
    commands: Mapping[str, Mapping[str, list[str]]],
    sums: Mapping[str, str],
) -> None:
    """Write ``splice.json``, ``splice.md`` and ``splice.html``; ``sums`` are the SHA-256 of the bundles' manifests."""
    bundles = {
        b: {n: json.loads(p.read_text(encoding="utf-8")) for n, p in found.items()} for b, found in reports.items()
    }
    lines = {b: {n: shlex.join(["fastconcept", *commands[b][n]]) for n in found} for b, found in bundles.items()}
    facts = environment()
    tables = [claims(bundles), kept(bundles), probed(bundles)]
    introduction = (
        "SpLiCE's choices, linear probes, and the curve of accuracy and cosine (Bhalla et al., arXiv 2402.10376), "
        "on the development photographs. Each run is one command, listed below. `splice.html` holds every report in "
        "full, with plots, and `splice.json` all numbers. Bundles, by the SHA-256 of their manifests: "
        + ", ".join(f"`{name}` {digest}" for name, digest in sums.items())
        + "."
    )
    listed = [line for found in lines.values() for line in found.values()]
    text = [
        "# SpLiCE, its choices and its probes",
        introduction,
        "\n".join(f"* {line}" for line in verdicts(tables[0])),
    ]
    body = [f"<h1>SpLiCE, its choices and its probes</h1><p>{introduction.replace('`', '')}</p>"]
    body.append(f"<ul>{''.join(f'<li>{line}</li>' for line in verdicts(tables[0]))}</ul>")
    for table in tables:
        text += [f"## {table.title}", table.to_markdown(), table.note]
        body.append(f"<h2>{table.title}</h2><div class=wide>{table.to_html()}</div><p class=soft>{table.note}</p>")
    text += ["## Commands", "```console\n" + "\n".join(f"$ {line}" for line in listed) + "\n```"]
    runs_of = {b: {n: {"command": lines[b][n], **run} for n, run in found.items()} for b, found in bundles.items()}
    values = {"environment": facts, "manifests": dict(sums), "bundles": runs_of}
    files = {
        "json": json.dumps(values, indent=1, ensure_ascii=False) + "\n",
        "md": "\n\n".join(part for part in text if part) + "\n",
        "html": html_page("SpLiCE · fastconcept", "".join([*body, *in_full(reports, lines)])),
    }
    results.mkdir(parents=True, exist_ok=True)
    for ending, content in files.items():
        with whole_file(results / f"splice.{ending}") as stream:
            stream.write(content.encode())


def main(arguments: list[str] | None = None) -> None:
    """Run what has no report for these bundles yet, then write the page."""
    parser = argparse.ArgumentParser(description="SpLiCE's probes, ablations and curves, as one page of results.")
    parser.add_argument("data", help="directory with annotations.json and cifar10_test_subset.npz")
    parser.add_argument("--bundle", type=tasks.BundleSpec.parse, action="append", required=True, metavar="NAME[=DIR]")
    parser.add_argument("--work", type=Path, default=Path(".cache/splice"))
    parser.add_argument("--results", type=Path, default=tasks.RESULTS)
    parser.add_argument("--docs", type=Path, help="pages that end with an output of the first bundle, to be renewed")
    parser.add_argument("--only", nargs="*", help="names of runs; default all, none with no name")
    chosen = parser.parse_args(arguments)
    write_cifar(Path(chosen.data), chosen.work / "cifar10")
    reports: dict[str, dict[str, Path]] = {}
    commands: dict[str, dict[str, list[str]]] = {}
    sums: dict[str, str] = {}
    for spec in chosen.bundle:
        bundle = [] if spec.path is None else ["--bundle", spec.path]
        sums[spec.name] = tasks.manifest_sum(spec)
        commands[spec.name] = {n: ["evaluate", *line, *bundle] for n, line in runs(chosen.data, chosen.work).items()}
        work = chosen.work / sums[spec.name]
        reports[spec.name] = tasks.made(spec.name, commands[spec.name], work, chosen.only)
    write(chosen.results, reports, commands, sums)
    if chosen.docs is not None:
        first = chosen.bundle[0].name
        document(chosen.docs, reports[first], commands[first], PAGES, manifest=sums[first])


if __name__ == "__main__":
    main()
