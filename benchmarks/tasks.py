"""The experiments of both papers on labelled photographs, as one page of results.

    python -m benchmarks.tasks ../shared/data/dev --bundle teacher --work .cache/tasks

runs every command of :func:`runs` that has no report in ``--work`` yet, then writes
``benchmarks/results/tasks.json``, ``tasks.md`` and ``tasks.html`` from all reports. No picture of the data is copied.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import html
import io
import json
import re
import sys
from pathlib import Path

import numpy as np

from fastconcept.cli import run
from fastconcept.cli.info import environment
from fastconcept.concepts.taxonomy import Taxonomy
from fastconcept.tasks.datasets import open_dataset
from fastconcept.tasks.reporting import html_page

RESULTS = Path(__file__).parent / "results"
ANIMAL_WORDS = (
    "animal animals dog dogs cat cats kitten puppy horse horses cow cows cattle sheep goat elephant elephants",
    "bear bears zebra giraffe bird birds wildlife mammal wild lion tiger wolf wolves deer pony",
)


def runs(data: str, work: Path) -> dict[str, list[str]]:
    """Name to arguments of ``fastconcept evaluate``; sample sizes say how long a run may take, not what works best."""
    cache = str(work / "patches")
    grid = ["--stride", "32", "--wsol-steps", "64", "--cache", cache]
    nulls = ["--null", "shuffled-definitions", "--null", "random-encoder"]
    ilsvrc, coco = ["--where", "subset=ilsvrc_val*"], ["--where", "subset=coco"]
    words = [argument for line in ANIMAL_WORDS for word in line.split() for argument in ("-w", word)]
    definition = ["--template", "{definition}"]
    penalties = [argument for value in ("0.1", "0.15", "0.2", "0.25", "0.35") for argument in ("--l1", value)]
    photos, animal = ["--where", "subset=nips17_ccby"], "below:animal.n.01"
    return {
        "localize-ilsvrc": ["localize", data, *ilsvrc, "--sample", "110", *grid, *nulls],
        "localize-coco": ["localize", data, *coco, "--sample", "48", *grid, *nulls],
        "localize-coco-small": ["localize", data, *coco, "--sample", "48", "--max-area", "0.1", *grid, *nulls],
        "localize-sweep": ["localize", data, *ilsvrc, "--sample", "48", *grid, "--sweep", "128+64,128,64"],
        "ood": ["ood", data, "--pairs", f"{data}/ood_pairs.json", "--null-seeds", "5"],
        "retrieval": ["retrieval", data, *coco],
        "concepts-classes": ["concepts", data, "--where", "subset=caltech101"],
        "concepts-difference": ["concepts", data, *photos, "--by", animal, "--compare", "yes", "--compare", "no"],
        "edit": [
            "edit",
            data,
            *coco,
            "--target",
            "has:person.n.01",
            "--nuisance",
            "has:animal.n.01",
            "--l1",
            "0.2",
            *words,
        ],
        "drift": ["drift", str(work / "drift.csv"), "--images", data, "--by", "batch"],
        "drift-null": ["drift", str(work / "drift.csv"), "--images", data, "--by", "shuffled"],
        "zeroshot-definitions": ["zeroshot", data, *ilsvrc, *definition, *penalties],
        "zeroshot-names": ["zeroshot", data, *ilsvrc, *penalties],
    }


def write_drift(data: Path, path: Path, batches: int = 6, size: int = 40) -> None:
    """A CSV of batches in which the part of birds rises from 0 to a half; a second column has the order shuffled."""
    wordnet = Taxonomy.builtin()
    birds = set(wordnet.subtree(wordnet.index("bird.n.01")).tolist())
    dataset = open_dataset(data)
    items = [
        i
        for i in dataset.items
        if i.label is not None and i.attributes.get("subset") in ("nips17_ccby", "ilsvrc_val_227")
    ]
    generator = np.random.default_rng(0)
    sides: list[list[str]] = [[], []]
    for k in generator.permutation(len(items)).tolist():
        sides[wordnet.index(items[k].label or "") in birds].append(items[k].name)
    share = [round(size * 0.5 * batch / (batches - 1)) for batch in range(batches)]
    scale = min(1.0, len(sides[1]) / sum(share))
    rows: list[tuple[str, int]] = []
    for batch, part in enumerate(share):
        count = int(part * scale)
        rows += [(sides[1].pop(), batch) for _ in range(count)]
        rows += [(sides[0].pop(), batch) for _ in range(size - count)]
    shuffled = generator.permutation([batch for _, batch in rows])
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "batch", "shuffled"])
        writer.writerows((name, batch, other) for (name, batch), other in zip(rows, shuffled, strict=True))


def merge(work: Path, commands: dict[str, list[str]], bundle: str) -> None:
    """One JSON, one markdown file and one page from the reports of all runs."""
    document: dict[str, object] = {"environment": environment(), "runs": {}}
    texts: list[str] = []
    bodies: list[str] = []
    for name, arguments in commands.items():
        folder = work / name
        reports = sorted(folder.glob("*.json"))
        if not reports:
            continue
        command = " ".join(["fastconcept evaluate", *map(_quoted, arguments), "--bundle", bundle])
        assert isinstance(document["runs"], dict)
        document["runs"][name] = {"command": command, **json.loads(reports[0].read_text(encoding="utf-8"))}
        texts.append(f"`{command}`\n\n" + reports[0].with_suffix(".md").read_text(encoding="utf-8"))
        page = reports[0].with_suffix(".html").read_text(encoding="utf-8")
        body = re.search(r"<main>(.*)</main>", page, re.DOTALL)
        assert body is not None
        bodies.append(f"{body[1]}<p class=soft><code>{command}</code></p>")
    lines = [_introduction(document), *_against_the_bars(document["runs"])]
    head = "\n".join(f"<p>{html.escape(line)}</p>" for line in lines)
    bodies.insert(0, f"<h1>What the papers do with it</h1>{head}")
    texts.insert(0, "\n\n".join(lines))
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "tasks.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (RESULTS / "tasks.md").write_text("# What the papers do with it\n\n" + "\n\n".join(texts), encoding="utf-8")
    (RESULTS / "tasks.html").write_text(html_page("Tasks · fastconcept", "".join(bodies)), encoding="utf-8")


def _introduction(document: dict[str, object]) -> str:
    facts = document["environment"]
    assert isinstance(facts, dict)
    return (
        f"Every run below is one command, its time beside it, on {facts['num_threads']} threads of {facts['cpu']} that "
        "it shared with other work: times are upper bounds. Those of localize are without the embedding of patches, "
        "which earlier runs left in the cache (about 200 patches a picture, stride 32 instead of the default 16, a "
        "sample of the pictures). The photographs stay where they are; only numbers are here."
    )


def _against_the_bars(runs: object) -> list[str]:
    """One line for each thing that was to be shown, and whether these runs show it."""
    assert isinstance(runs, dict)
    lines = []
    for name, what in (
        ("localize-ilsvrc", "ILSVRC"),
        ("localize-coco", "COCO, one category at a time"),
        ("localize-coco-small", "COCO, objects up to a tenth of the image"),
    ):
        for null in ("random concept", "shuffled definitions") if name in runs else ():
            told = []
            for metric in ("MaxBoxAcc", "pointing"):
                difference, low, high = runs[name]["differences"][null][metric]
                verdict = "above" if low > 0 else "not shown to be above"
                told.append(f"{metric} {verdict} ({difference:+.3f} [{low:+.3f}, {high:+.3f}])")
            lines.append(f"Maps over {null}, {what}, {runs[name]['cases']} objects: {'; '.join(told)}.")
    if "ood" in runs:
        large = [pair for pair in runs["ood"]["pairs"] if min(pair["counts"]) >= 30]
        beaten = sum(all(low > 0 for _, low, _ in pair["rows"][0]["lift"].values()) for pair in large)
        lines.append(f"Leaf scores are above both nulls on {beaten} of {len(large)} pairs with 30 images a side.")
    for name in ("zeroshot-definitions", "zeroshot-names"):
        if name in runs:
            row = min(runs[name]["rows"][1:], key=lambda row: abs(row["l0"] - 30))
            lines.append(
                f"{name}: at {row['l0']:.1f} words {row['kept']:.1%} of the dense accuracy is kept (bar: 80 %)."
            )
    return lines


def _quoted(argument: str) -> str:
    return f"'{argument}'" if re.search(r"[*{} ]", argument) else argument


def main() -> None:
    """Run what has no report yet, then merge."""
    parser = argparse.ArgumentParser(description="Every task on labelled photographs, as one page of results.")
    parser.add_argument("data", help="directory with annotations.json and ood_pairs.json")
    parser.add_argument("--bundle", required=True)
    parser.add_argument("--work", type=Path, default=Path(".cache/tasks"))
    parser.add_argument("--only", nargs="*", help="names of runs; default all, none with no name")
    chosen = parser.parse_args()
    commands = runs(chosen.data, chosen.work)
    write_drift(Path(chosen.data), chosen.work / "drift.csv")
    for name, arguments in commands.items():
        folder = chosen.work / name
        if (chosen.only is None or name in chosen.only) and not list(folder.glob("*.json")):
            sys.stderr.write(f"{name}\n")
            with contextlib.redirect_stdout(io.StringIO()):
                code = run(["evaluate", *arguments, "--bundle", chosen.bundle, "-o", str(folder)])
            if code:
                sys.exit(code)
    merge(chosen.work, commands, chosen.bundle)


if __name__ == "__main__":
    main()
