"""The experiments of both papers on labelled photographs, every bundle beside the others, as one page of results.

    python -m benchmarks.tasks ../shared/data/dev --bundle builtin --bundle teacher=DIR,photos=110,scenes=48,stride=32

runs, bundle by bundle, every command of :func:`runs` that has no report in ``--work`` yet, then writes
``benchmarks/results/tasks.json``, ``tasks.md`` and ``tasks.html`` from all reports. What was stopped goes on where it
was: reports are kept, and so are the embeddings of patches. No picture of the data is copied.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import io
import sys
from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks import tasks_page
from fastconcept import load
from fastconcept.cli import run
from fastconcept.concepts.taxonomy import Taxonomy
from fastconcept.datasets.dataset import open_dataset

RESULTS = Path(__file__).parent / "results"
BUILT_IN = "builtin"
ANIMAL_WORDS = (
    "animal animals dog dogs cat cats kitten puppy horse horses cow cows cattle sheep goat elephant elephants",
    "bear bears zebra giraffe bird birds wildlife mammal wild lion tiger wolf wolves deer pony",
)

# Small objects: patches of 32 px, read by similarity, pointed best on part of the SWEPT scenes (the run sweep-small
# shows all rows); localize-small judges that choice on all the other scenes.
SWEPT = "20"
SMALL_OBJECTS = ["--max-area", "0.1", "--sizes", "32", "--stride", "16", "--score", "similarity"]
SWEEP = ["--sweep", "128/32+64/32,64/16,32/16,64/16+32/16", "--sweep-scores", "log-rank,similarity"]
SWEEP += ["--sweep-aggregates", "best-then-mean", "--sweep-parts", "largest,peak"]


@dataclass(frozen=True)
class BundleSpec:
    """A bundle, and how much of the slow tasks it runs: 0 photographs or scenes means all of them."""

    name: str
    path: str | None  # None is the built-in bundle
    photos: int = 0
    scenes: int = 0
    stride: int = 16

    @classmethod
    def parse(cls, text: str) -> BundleSpec:
        """``NAME[=DIR][,photos=N][,scenes=N][,stride=N]``; a name alone is the built-in ``builtin``, or a directory.

        Examples
        --------
        >>> BundleSpec.parse("builtin"), BundleSpec.parse("big=x/y,photos=9,stride=32").photos
        (BundleSpec(name='builtin', path=None, photos=0, scenes=0, stride=16), 9)
        """
        first, *rest = text.split(",")
        name, _, path = first.partition("=")
        numbers = dict(part.split("=", 1) for part in rest if "=" in part)
        known = numbers.keys() <= {"photos", "scenes", "stride"} and all(map(str.isdigit, numbers.values()))
        if not name or len(numbers) != len(rest) or not known:
            raise argparse.ArgumentTypeError(f"NAME[=DIR][,photos=N][,scenes=N][,stride=N] is needed, got {text!r}")
        return cls(name, path or (None if name == BUILT_IN else name), **{k: int(v) for k, v in numbers.items()})


def runs(data: str, work: Path, spec: BundleSpec, known: Container[str] | None = None) -> dict[str, list[str]]:
    """Name to arguments of ``fastconcept evaluate``; sample sizes say how long a run may take, not what works best.

    Words to edit that are not among `known`, the words of the bundle's dictionary, are left out.
    """
    grid = ["--wsol-steps", "64", "--cache", str(work / "patches"), "--nulls"]
    usual = ["--stride", str(spec.stride), *grid, "shuffled-definitions,random-encoder"]
    small = [*SMALL_OBJECTS, *grid, "shuffled-definitions"]
    ilsvrc, coco = ["--where", "subset=ilsvrc_val*"], ["--where", "subset=coco"]
    photos, scenes = (["--sample", str(count)] if count else [] for count in (spec.photos, spec.scenes))
    animals = [word for line in ANIMAL_WORDS for word in line.split() if known is None or word in known]
    words = [argument for word in animals for argument in ("-w", word)]
    definition = ["--templates", "{definition}"]
    penalties = ["--l1-penalties", "0.1,0.15,0.2,0.25,0.35"]
    sides = [] if spec.scenes else ["--sweep-short-sides", "224,0"]
    animal, person = "below:animal.n.01", ["--target", "has:person.n.01", "--nuisance", "has:animal.n.01"]
    compared = ["--where", "subset=nips17_ccby", "--by", animal, "--compare", "yes", "--compare", "no"]
    batches = ["drift", str(work / "drift.csv"), "--images", data]
    return {
        "localize-ilsvrc": ["localize", data, *ilsvrc, *photos, *usual],
        "localize-ilsvrc-convis": ["localize", data, *ilsvrc, *photos, "--protocol", "convis", *usual],
        "localize-coco": ["localize", data, *coco, *scenes, *usual],
        "sweep-small": ["localize", data, *coco, "--sample", SWEPT, *small, *SWEEP, *sides],
        "localize-small": ["localize", data, *coco, "--sample", f"-{SWEPT}", *small],
        "ood": ["ood", data, "--pairs", f"{data}/ood_pairs.json", "--null-seeds", "5"],
        "retrieval": ["retrieval", data, *coco],
        "concepts-classes": ["concepts", data, "--where", "subset=caltech101"],
        "concepts-difference": ["concepts", data, *compared],
        "edit": ["edit", data, *coco, *person, "--l1-penalty", "0.2", *words],
        "drift": [*batches, "--by", "batch"],
        "drift-null": [*batches, "--by", "shuffled"],
        "zeroshot-definitions": ["zeroshot", data, *ilsvrc, *definition, *penalties],
        "zeroshot-names": ["zeroshot", data, *ilsvrc, *penalties],
    }


def manifest_sum(spec: BundleSpec) -> str:
    """The first 16 digits of the SHA-256 of a bundle's manifest, which names its version."""
    return hashlib.sha256((load(spec.path).bundle.path / "manifest.json").read_bytes()).hexdigest()[:16]


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


def made(
    bundle: str, commands: Mapping[str, list[str]], work: Path, only: Container[str] | None = None
) -> dict[str, Path]:
    """The report of each run of a bundle; runs that have none yet are run, all of them or `only` some."""
    reports = {}
    for name, command in commands.items():
        folder = work / bundle / name
        if (only is None or name in only) and not list(folder.glob("*.json")):
            sys.stderr.write(f"{bundle}: {name}\n")
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                code = run([*command, "-o", str(folder)])
            if code:
                sys.exit(f"{printed.getvalue()}\n{bundle}: {name} failed")
        for report in folder.glob("*.json"):
            reports[name] = report
    return reports


def main(arguments: list[str] | None = None) -> None:
    """Run what has no report yet, then write the page."""
    parser = argparse.ArgumentParser(description="Every task on labelled photographs, as one page of results.")
    parser.add_argument("data", help="directory with annotations.json and ood_pairs.json")
    parser.add_argument(
        "--bundle",
        type=BundleSpec.parse,
        action="append",
        required=True,
        metavar="NAME[=DIR][,photos=N][,scenes=N][,stride=N]",
        help="may be repeated; builtin is the built-in one; N photographs of one object, N scenes (default: all)",
    )
    parser.add_argument("--work", type=Path, default=Path(".cache/tasks"))
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, help="pages that end with an output of the last bundle, to be renewed")
    parser.add_argument("--only", nargs="*", help="names of runs; default all, none with no name")
    chosen = parser.parse_args(arguments)
    if chosen.only is None or {"drift", "drift-null"} & set(chosen.only):
        write_drift(Path(chosen.data), chosen.work / "drift.csv")
    reports: dict[str, dict[str, Path]] = {}
    commands: dict[str, dict[str, list[str]]] = {}
    for spec in chosen.bundle:
        bundle = [] if spec.path is None else ["--bundle", spec.path]
        asked = runs(chosen.data, chosen.work, spec, set(load(spec.path).dictionary.words))
        commands[spec.name] = {name: ["evaluate", *asked[name], *bundle] for name in asked}
        reports[spec.name] = made(spec.name, commands[spec.name], chosen.work, chosen.only)
    tasks_page.write(chosen.results, reports, commands)
    if chosen.docs is not None:
        last = chosen.bundle[-1].name
        manifest = manifest_sum(chosen.bundle[-1])
        tasks_page.document(chosen.docs, reports[last], commands[last], manifest=manifest)


if __name__ == "__main__":
    main()
