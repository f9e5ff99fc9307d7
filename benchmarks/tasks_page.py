"""The results of :mod:`benchmarks.tasks`: one short table with every bundle side by side, and every report in full."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastconcept.environment import environment
from fastconcept.pages.shell import html_page
from fastconcept.pages.tables import Table, show

Run = Mapping[str, Any]  # the JSON document of one report
Null = tuple[str, Any]  # name of a null control, and its value or (difference, low, high)
NULLS = {"shuffled-definitions": "shuffled definitions", "random-vocabulary": "random vocabulary"}
# What was to be shown: at about 30 words, zero-shot accuracy is 80 % of that of dense embeddings; and leaf scores are
# above their null controls on pairs with 30 images on each side.
GOAL_WORDS, GOAL_RETENTION, GOAL_IMAGES = 30, 0.8, 30

DOCUMENTED = {  # page of documentation, and the run whose output it ends with
    "localize": "localize-ilsvrc",
    "ood": "ood",
    "zeroshot": "zeroshot-definitions",
    "retrieval": "retrieval",
    "concepts": "concepts-difference",
    "edit": "edit",
    "drift": "drift",
}


@dataclass(frozen=True)
class Measure:
    """One number of a run with those of its null controls."""

    task: str
    measure: str
    value: float
    nulls: tuple[Null, ...]


def measures(name: str, run: Run) -> list[Measure]:
    """The numbers of a run that the short table shows."""
    rows = TASKS[str(run["task"])](run)
    return [Measure(name, measure, value, tuple(nulls)) for measure, value, nulls in rows]


def _localize(run: Run) -> Iterator[tuple[str, float, list[Null]]]:
    for metric, title in (("MaxBoxAcc", "MaxBoxAcc"), ("MaxBoxAccV2", "MaxBoxAccV2"), ("pointing", "pointing game")):
        nulls = [(null, tuple(row[metric])) for null, row in run["differences"].items() if null != "full box"]
        yield title, run["methods"]["map"][metric], nulls
    if run["sweep"]:
        best = max(run["sweep"], key=lambda row: (row["accuracy"], row["pointing"]))
        nulls = [("first row of the sweep", tuple(best["lift"]))]
        nulls += [(null, tuple(over["MaxBoxAcc"])) for null, over in best["over"].items()]
        yield f"MaxBoxAcc, best of {len(run['sweep'])} rows", best["accuracy"], nulls


def _ood(run: Run) -> Iterator[tuple[str, float, list[Null]]]:
    for pair in run["pairs"]:
        leaves = pair["rows"][0]
        sides = " / ".join(f"{pair[side].split('.')[0]} {n}" for side, n in zip(("inside", "outside"), pair["counts"]))  # noqa: B905
        yield f"AUROC, {sides}", leaves["auroc"], _lifts(leaves)


def _zeroshot(run: Run) -> Iterator[tuple[str, float, list[Null]]]:
    dense, words = run["rows"][0], _near_the_goal(run)
    yield f"top-1 of {run['classes']}, dense", dense["top1"], _lifts(dense)
    yield f"top-1, {words['l0']:.0f} words", words["top1"], _lifts(words)
    yield f"part of dense, {words['l0']:.0f} words", words["retention"], []


def _near_the_goal(run: Run) -> Mapping[str, Any]:
    row: Mapping[str, Any] = min(run["rows"][1:], key=lambda row: abs(row["l0"] - GOAL_WORDS))
    return row


def _retrieval(run: Run) -> Iterator[tuple[str, float, list[Null]]]:
    for row in run["rows"]:
        kind = "dense" if row["l0"] is None else f"{row['l0']:.0f} words"
        yield f"text to image R@1, {kind}", row["text_to_image"]["1"], _lifts(row)


def _concepts(run: Run) -> Iterator[tuple[str, float, list[Null]]]:
    if run["named"] is not None:
        yield "classes with their name among the top ten words", run["named"], [("shuffled words", run["named_null"])]
    if run["compared"]:
        title = f"words that differ (q <= 0.05) of {run['tested']}"
        yield title, run["differing"], [("random groups", run["differing_by_chance"])]


def _edit(run: Run) -> Iterator[tuple[str, float, list[Null]]]:
    _, plain, edited, other = run["rows"]
    for probe in ("nuisance", "target"):
        nulls = [("unedited", plain[probe]), ("other words removed", other[probe])]
        yield f"{probe} probe after the edit", edited[probe], nulls


def _drift(run: Run) -> Iterator[tuple[str, float, list[Null]]]:
    yield f"words with an alarm of {run['tested']}", run["alarms"], [("random order", run["alarms_null"])]


TASKS: dict[str, Callable[[Run], Iterator[tuple[str, float, list[Null]]]]] = {
    "localize": _localize,
    "ood": _ood,
    "zeroshot": _zeroshot,
    "retrieval": _retrieval,
    "concepts": _concepts,
    "edit": _edit,
    "drift": _drift,
}


def _lifts(row: Mapping[str, Any]) -> list[Null]:
    return [(NULLS.get(null, null), tuple(lift)) for null, lift in row["lift"].items()]


def side_by_side(bundles: Mapping[str, Mapping[str, Run]]) -> Table:
    """One row per run, measure and bundle, the bundles under each other."""
    rows: list[list[object]] = []
    for name in dict.fromkeys(name for runs in bundles.values() for name in runs):
        listed_by = {bundle: measures(name, runs[name]) for bundle, runs in bundles.items() if name in runs}
        for k in range(max(map(len, listed_by.values()))):
            for bundle, listed in listed_by.items():
                if k < len(listed):
                    nulls = "; ".join(f"{null} {show(value)}" for null, value in listed[k].nulls)
                    seconds = f"{bundles[bundle][name]['seconds']:.0f}" if k == 0 else ""
                    rows.append([name, listed[k].measure, bundle, listed[k].value, nulls, seconds])
    note = (
        "Against a null control (the same with one thing taken away that the number must depend on): the difference to "
        "it with its 95 % paired bootstrap interval, or, where there is none, its own value. Seconds of the whole run."
    )
    return Table("Side by side", ["run", "measure", "bundle", "value", "against null controls", "s"], rows, note)


def against_the_goals(bundle: str, runs: Mapping[str, Run]) -> list[str]:
    """One sentence for each thing that was to be shown, and whether these runs show it."""
    lines = []
    for name, run in runs.items():
        if run["task"] == "localize" and not run["sweep"]:
            for null in ("random concept", "shuffled definitions"):
                verdicts = []
                for metric in ("MaxBoxAcc", "pointing"):
                    difference, low, high = run["differences"][null][metric]
                    verdict = "above" if low > 0 else "not shown to be above"
                    verdicts.append(f"{metric} {verdict} ({difference:+.3f} [{low:+.3f}, {high:+.3f}])")
                lines.append(f"{bundle}, {name}, {run['cases']} objects, maps over {null}: {'; '.join(verdicts)}.")
        if run["task"] == "ood":
            large = [pair for pair in run["pairs"] if min(pair["counts"]) >= GOAL_IMAGES]
            beaten = sum(all(low > 0 for _, low, _ in pair["rows"][0]["lift"].values()) for pair in large)
            lines.append(f"{bundle}, {name}: leaf scores above both null controls on {beaten} of {len(large)} pairs "
                         f"with {GOAL_IMAGES} images a side.")  # fmt: skip
        if run["task"] == "zeroshot":
            row = _near_the_goal(run)
            verdict = "reached" if row["retention"] >= GOAL_RETENTION else "missed"
            lines.append(f"{bundle}, {name}: {row['retention']:.1%} of dense at {row['l0']:.0f} words, goal "
                         f"{GOAL_RETENTION:.0%} {verdict}.")  # fmt: skip
    return lines


def document(
    folder: Path,
    reports: Mapping[str, Path],
    commands: Mapping[str, list[str]],
    pages: Mapping[str, str] = DOCUMENTED,
    *,
    manifest: str,
) -> None:
    """Renew the command and its output at the end of every page of documentation whose run has a report.

    Parameters
    ----------
    folder : Path
        Of the pages.
    reports, commands : mapping of run to Path, mapping of run to arguments
        Of one bundle.
    pages : mapping of page to run
    manifest : str
        First digits of the SHA-256 of the bundle's manifest: which version of a bundle an output is of.
    """
    version = f"This output is of the bundle whose manifest has the SHA-256 `{manifest}`..."
    for page, name in pages.items():
        if name in reports:
            path = folder / f"{page}.md"
            introduction, fence, _ = path.read_text(encoding="utf-8").partition("```console\n")
            assert fence, f"{path} shows no command"
            output = reports[name].with_suffix(".md").read_text(encoding="utf-8").strip()
            command = shlex.join(["fastconcept", *commands[name]])
            path.write_text(f"{introduction}{fence}$ {command}\n```\n\n{version}\n\n{output}\n", encoding="utf-8")


def in_full(reports: Mapping[str, Mapping[str, Path]], lines: Mapping[str, Mapping[str, str]]) -> list[str]:
    """Every report as it is on its own page, under its command."""
    body = []
    for bundle, runs in reports.items():
        for name, path in runs.items():
            page = re.search(r"<main>(.*)</main>", path.with_suffix(".html").read_text(encoding="utf-8"), re.DOTALL)
            assert page is not None
            body.append(f"<h2>{bundle}, {name}</h2><p class=soft><code>{lines[bundle][name]}</code></p>{page[1]}")
    return body


def write(
    results: Path, reports: Mapping[str, Mapping[str, Path]], commands: Mapping[str, Mapping[str, list[str]]]
) -> None:
    """Write ``tasks.json``, ``tasks.md`` and ``tasks.html`` from the reports of every bundle.

    Parameters
    ----------
    results : Path
        A directory.
    reports : mapping of bundle to mapping of run to Path
        The JSON file of each report, with the markdown and the page beside it.
    commands : mapping of bundle to mapping of run to arguments
        Of ``fastconcept``.
    """
    bundles = {
        bundle: {name: json.loads(path.read_text(encoding="utf-8")) for name, path in runs.items()}
        for bundle, runs in reports.items()
    }
    lines = {
        bundle: {name: shlex.join(["fastconcept", *commands[bundle][name]]) for name in runs}
        for bundle, runs in bundles.items()
    }
    facts = environment()
    document = {
        "environment": facts,
        "bundles": {b: {n: {"command": lines[b][n], **run} for n, run in runs.items()} for b, runs in bundles.items()},
    }
    introduction = (
        f"Each run is one command, listed below, on {facts['num_threads']} threads of {facts['cpu']} that other work "
        "shared: times are upper bounds, and those of localize are shorter where patches were already in the cache. "
        "The photographs stay where they are; only numbers are here. `tasks.html` holds every report in full, with "
        "plots, and `tasks.json` all numbers."
    )
    table = side_by_side(bundles)
    goals = [line for bundle, runs in bundles.items() for line in against_the_goals(bundle, runs)]
    listed = [line for bundle in lines for line in lines[bundle].values()]
    text = ["# What the papers do with it", introduction, "## Side by side", table.to_markdown(), table.note]
    text += ["## Against the goals", "\n".join(f"* {line}" for line in goals)]
    text += ["## Commands", "```console\n" + "\n".join(f"$ {line}" for line in listed) + "\n```"]
    body = [f"<h1>What the papers do with it</h1><p>{introduction}</p><div class=wide>{table.to_html()}</div>"]
    body += [f"<p class=soft>{table.note}</p>", *(f"<p>{line}</p>" for line in goals)]
    body += in_full(reports, lines)
    results.mkdir(parents=True, exist_ok=True)
    (results / "tasks.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (results / "tasks.md").write_text("\n\n".join(text) + "\n", encoding="utf-8")
    (results / "tasks.html").write_text(html_page("Tasks · fastconcept", "".join(body)), encoding="utf-8")
