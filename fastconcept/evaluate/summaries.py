"""From the result of a task to its report: the finding in words, tables, plots, plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from ..pages.document import Report, Table
from ..pages.plots import bars, lines
from .concepts import ConceptsResult
from .drift import DriftResult
from .edit import EditResult
from .localize import OURS, Localization
from .ood import OodResult
from .retrieval import RetrievalResult
from .sweep import SweepRow
from .zeroshot import ZeroShotResult

Settings = dict[str, object]
_MAP_METRICS = {"MaxBoxAcc": "MaxBoxAcc", "MaxBoxAcc_wsol": "MaxBoxAcc (wsol)", "MaxBoxAccV2": "MaxBoxAccV2",
                "pointing": "pointing game", "PxAP": "PxAP"}  # fmt: skip


def _spelled(name: str) -> str:
    return name.replace("-", " ")


def localization(found: Localization, settings: Settings, sweep: Sequence[SweepRow] = ()) -> Report:
    """Localisation: every method's box measures, ours against each, and the sweep if there is one."""
    metrics = {name: scores.metrics() for name, scores in found.methods.items()}
    ours = metrics[OURS]
    beaten = [name for name, row in found.differences.items() if row["MaxBoxAcc"][1] > 0]
    finding = (
        f"On {len(found.cases)} objects the map reaches MaxBoxAcc {ours['MaxBoxAcc']:.3f}, MaxBoxAccV2 "
        f"{ours['MaxBoxAccV2']:.3f} and {ours['pointing']:.3f} in the pointing game; its MaxBoxAcc is above "
        f"{', '.join(beaten) or 'none of the others'} with the whole 95 % interval."
    )
    columns = ["method", "MaxBoxAcc", "at threshold", "MaxBoxAcc (wsol)", "MaxBoxAccV2 (wsol)", "pointing game"]
    columns += ["PxAP"] if "PxAP" in ours else []
    rows = [[name, *row.values()] for name, row in metrics.items()]
    compared = {name: shown for name, shown in _MAP_METRICS.items() if name in ours}
    tables = [
        Table("Methods side by side", columns, rows),
        Table(
            "The map minus each of them",
            ["", *compared.values()],
            [[name, *(row[metric] for metric in compared)] for name, row in found.differences.items()],
            "Differences with 95 % paired bootstrap intervals over images; thresholds are chosen anew in each sample.",
        ),
    ]
    if sweep:
        tables.append(_sweep_table(sweep))
    shown = {"MaxBoxAcc": [row["MaxBoxAcc"] for row in metrics.values()],
             "pointing game": [row["pointing"] for row in metrics.values()]}  # fmt: skip
    return Report(
        "localize",
        f"Localisation, protocol {found.protocol}",
        finding,
        {**settings, "objects": len(found.cases), "maps": found.mode},
        tables,
        [("Box accuracy and pointing game", bars("box accuracy", list(metrics), shown))],
        {
            "protocol": found.protocol,
            "mode": found.mode,
            "cases": len(found.cases),
            "methods": metrics,
            "differences": found.differences,
            "sweep": [asdict(row) for row in sweep],
        },
        found.bad,
        found.seconds,
    )


def _sweep_table(sweep: Sequence[SweepRow], shown: int = 24) -> Table:
    nulls = list(sweep[0].over)
    rows = [
        [
            row.choice.reading.describe(),
            f"{row.choice.border}, {row.choice.short_side or 'own'} px, {row.choice.part}",
            row.accuracy,
            row.threshold,
            row.pointing,
            row.lift,
            *(row.over[name]["MaxBoxAcc"] for name in nulls),
            *(row.over[name]["pointing"] for name in nulls),
        ]
        for row in sorted(sweep, key=lambda row: (-row.accuracy, -row.pointing))[:shown]
    ]
    columns = ["patches and reading", "border, short side, part", "MaxBoxAcc", "at threshold", "pointing game",
               "MaxBoxAcc over the first", *(f"MaxBoxAcc over {name}" for name in nulls),
               *(f"pointing over {name}" for name in nulls)]  # fmt: skip
    first = sweep[0].choice
    note = (
        f"The first is: {first.reading.describe()}, border {first.border}. Best rows first, {len(rows)} of "
        f"{len(sweep)}; the JSON file has all. The best of many rows looks better than it is: judge it on other images "
        "(--sample N for the sweep, --sample -N for the rest)."
    )
    return Table("Sweep: which choice lifts the maps", columns, rows, note)


def _mean_and_most(areas: Sequence[float]) -> str:
    return f"{sum(areas) / len(areas):.3f} ({max(areas):.3f})"


def ood(found: Sequence[OodResult], settings: Settings) -> Report:
    """Out-of-distribution detection over one or more pairs."""
    columns = ["in / out", "images", "score", "AUROC", "95 % interval", "FPR95"]
    controls = list(found[0].rows[0].null)
    seeds = max((len(areas) for areas in found[0].rows[0].null.values()), default=0)
    rows = [
        [
            f"{pair.inside} / {pair.outside}",
            f"{pair.counts[0]} / {pair.counts[1]}",
            row.score,
            row.auroc,
            f"{row.interval[0]:.3f} to {row.interval[1]:.3f}",
            row.fpr95,
            *(_mean_and_most(row.null[control]) for control in controls),
            *(row.lift[control] for control in controls),
        ]
        for pair in found
        for row in pair.rows
    ]
    nulls = [f"AUROC, {_spelled(control)}" for control in controls] + [f"over {_spelled(c)}" for c in controls]
    leaves = {f"{pair.inside} / {pair.outside}": pair.rows[0] for pair in found}
    above = [name for name, row in leaves.items() if all(lift[1] > 0 for lift in row.lift.values())]
    labels = [name.replace(".n.01", "").replace(".n.02", "") for name in leaves]
    series = {row.score: [pair.rows[k].auroc for pair in found] for k, row in enumerate(found[0].rows)}
    return Report(
        "ood",
        "Out-of-distribution detection",
        f"Largest leaf similarity is above every null with its whole 95 % interval on "
        f"{len(above)} of {len(found)} pairs.",
        settings,
        [
            Table(
                "Scores on each pair",
                [*columns, *nulls],
                rows,
                f"Positives are in-distribution. Nulls: mean over {seeds} seeds, the highest in brackets.",
            )
        ],
        [("AUROC by pair and score", bars("AUROC", labels, series))],
        {
            "pairs": [
                {"inside": p.inside, "outside": p.outside, "counts": p.counts, "rows": [asdict(row) for row in p.rows]}
                for p in found
            ]
        },
        list(dict.fromkeys(entry for pair in found for entry in pair.bad)),
        sum(pair.seconds for pair in found),
    )


def zeroshot(found: ZeroShotResult, settings: Settings) -> Report:
    """Zero-shot classification over a sweep of penalties."""
    controls = list(found.rows[0].null)
    rows = [
        [row.kind, row.l1_penalty, row.l0, row.cosine, row.top1, row.top5, row.kept]
        + [row.null[control][1] for control in controls]
        + [row.lift[control] for control in controls]
        for row in found.rows
    ]
    columns = ["embedding", "l1 penalty", "words (l0)", "cosine", "top-1", "top-5", "kept of dense"]
    columns += [f"top-1, {_spelled(c)}" for c in controls] + [f"over {_spelled(c)}" for c in controls]
    words = found.rows[1:]
    closest = min(words, key=lambda row: abs((row.l0 or 0) - 30), default=None)
    told = f"; at {closest.l0:.1f} words the decomposed ones keep {closest.kept:.0%} of it" if closest else ""
    series = {"top-1": [row.top1 for row in words], "top-5": [row.top5 for row in words],
              "cosine": [row.cosine or 0.0 for row in words]}  # fmt: skip
    series |= {f"top-1, {_spelled(c)}": [row.null[c][1] for row in words] for c in controls}
    return Report(
        "zeroshot",
        "Zero-shot classification",
        f"Dense embeddings are right for {found.rows[0].top1:.1%} of {found.count} images in "
        f"{found.classes} classes{told}.",
        {**settings, "templates": " | ".join(found.templates)},
        [Table("Accuracy against the number of words", columns, rows)],
        [
            (
                "Against the number of words",
                lines("accuracy", "words per image (l0)", [r.l0 or 0 for r in words], series),
            )
        ],
        {"classes": found.classes, "count": found.count, "rows": [asdict(row) for row in found.rows]},
        found.bad,
        found.seconds,
    )


def retrieval(found: RetrievalResult, settings: Settings) -> Report:
    """Text-image retrieval, dense and decomposed."""
    controls = list(found.rows[0].null)
    rows = [
        [row.kind, row.l1_penalty, row.l0, *row.text_to_image.values(), *row.image_to_text.values()]
        + [row.null[control][0] for control in controls]
        + [row.lift[control] for control in controls]
        for row in found.rows
    ]
    columns = ["embedding", "l1 penalty", "words (l0)", *(f"T→I R@{k}" for k in found.rows[0].text_to_image)]
    columns += [f"I→T R@{k}" for k in found.rows[0].image_to_text]
    columns += [f"T→I R@1, {_spelled(c)}" for c in controls] + [f"over {_spelled(c)}" for c in controls]
    dense = found.rows[0]
    labels = [row.kind if row.l1_penalty is None else f"{row.kind} {row.l1_penalty:g}" for row in found.rows]
    series = {"text to image R@5": [row.text_to_image[5] for row in found.rows],
              "image to text R@5": [row.image_to_text[5] for row in found.rows]}  # fmt: skip
    return Report(
        "retrieval",
        "Text-image retrieval",
        f"Among {found.images} images and {found.captions} captions, dense embeddings find the image of a "
        f"caption first in {dense.text_to_image[1]:.1%} and a caption of an image first in "
        f"{dense.image_to_text[1]:.1%} of the cases.",
        settings,
        [Table("Recall both ways", columns, rows)],
        [("Recall@5", bars("recall", labels, series))],
        {"images": found.images, "captions": found.captions, "rows": [asdict(row) for row in found.rows]},
        found.bad,
        found.seconds,
    )


def concepts(found: ConceptsResult, settings: Settings) -> Report:
    """Concept histograms, and the difference of two groups."""
    words = [
        [g.group, g.count, g.l0, g.cosine, ", ".join(f"{word} {weight:.3f}" for word, weight in g.words[:8])]
        for g in found.groups
    ]
    tables = [Table(f"Heaviest words by {found.by}", ["group", "items", "words (l0)", "cosine", "mean weights"], words)]
    finding = f"{len(found.groups) - 1} groups by {found.by}."
    if found.named is not None:
        finding += (
            f" {found.named:.0%} of those whose name is in the vocabulary have a word of it among their ten heaviest "
            f"words ({found.named_null or 0:.0%} with the words of the dictionary shuffled)."
        )
    heaviest = found.groups[0].words
    everything = bars("weights", [word for word, _ in heaviest], {"mean weight": [weight for _, weight in heaviest]})
    plots = [("All items", everything)]
    if found.compared:
        one, two = found.compared
        rows = [[d.word, *d.means, (d.difference, d.low, d.high), d.effect, d.p, d.q] for d in found.differences]
        columns = ["word", f"mean, {one}", f"mean, {two}", "difference [95 %]", "effect (d)", "p", "q"]
        note = f"{found.tested} words tested; with random groups {found.found_null:.1f} on average have q <= 0.05."
        tables.append(Table(f"{one} minus {two}", columns, rows, note))
        finding += f" {one} and {two} differ in {found.found} of {found.tested} words at q <= 0.05."
        series = {one: [d.means[0] for d in found.differences], two: [d.means[1] for d in found.differences]}
        plots.append((f"{one} and {two}", bars("difference", [d.word for d in found.differences], series)))
    values = {key: value for key, value in asdict(found).items() if key not in ("bad", "seconds")}
    return Report("concepts", "Concept histograms", finding, settings, tables, plots, values, found.bad, found.seconds)


def editing(found: EditResult, settings: Settings) -> Report:
    """Probes before and after an edit."""
    rows = [[row.embeddings, row.target, row.worst, row.nuisance, row.retrained] for row in found.rows]
    columns = ["embeddings", "target", "worst group", "nuisance", "nuisance, probe trained anew"]
    plain, edited, null = found.rows[1], found.rows[2], found.rows[3]
    verb = "Removing" if found.scale == 0 else f"Scaling by {found.scale:g}"
    return Report(
        "edit",
        "Editing concepts out of embeddings",
        f"{verb} {', '.join(found.words) or 'words that no code uses'} changes {found.touched:.0%} of {found.count} "
        f"codes: the nuisance probe goes from {plain.nuisance:.3f} to {edited.nuisance:.3f} (other words: "
        f"{null.nuisance:.3f}), the target probe from {plain.target:.3f} to {edited.target:.3f}.",
        {**settings, "folds": found.folds},
        [Table("Accuracy of linear probes", columns, rows, "Cross-validated; trained on unedited embeddings.")],
        [("Probes", bars("accuracy", [row.embeddings for row in found.rows], {
            "target": [row.target for row in found.rows],
            "worst group": [row.worst for row in found.rows],
            "nuisance": [row.nuisance for row in found.rows],
        }))],
        {key: value for key, value in asdict(found).items() if key not in ("bad", "seconds")},
        found.bad,
        found.seconds,
    )  # fmt: skip


def drift(found: DriftResult, settings: Settings, top: int = 15) -> Report:
    """Trends of words over ordered groups."""
    rows = [
        [t.word, t.trend, t.p, t.q, "yes" if t.alarm else "", ", ".join(f"{mean:.3f}" for mean in t.means)]
        for t in found.trends[:top]
    ]
    columns = ["word", "trend (r)", "p", "q", "alarm", "mean weight per group"]
    moving = {t.word: t.means for t in found.trends[:5]}
    names = ", ".join(f"{name} ({count})" for name, count in found.groups)
    return Report(
        "drift",
        "Drift of concept weights",
        f"{found.alarms} of {found.tested} words move over the {len(found.groups)} groups; "
        f"{found.alarms_null:.1f} on average when the items are put in random order.",
        settings,
        [Table(f"Words over {found.by}: {names}", columns, rows)],
        [("The five clearest trends", lines("weights", found.by, list(range(len(found.groups))), moving))],
        {key: value for key, value in asdict(found).items() if key not in ("bad", "seconds")},
        found.bad,
        found.seconds,
    )
