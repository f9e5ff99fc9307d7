"""From the result of localisation to its report: the finding in words, tables, plots, plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from ..pages.document import Report
from ..pages.plots import bars
from ..pages.tables import Table
from .localize import OURS, Localization
from .sweep import SweepRow

_MAP_METRICS = {"MaxBoxAcc": "MaxBoxAcc", "MaxBoxAcc_wsol": "MaxBoxAcc (wsol)", "MaxBoxAccV2": "MaxBoxAccV2",
                "pointing": "pointing game", "PxAP": "PxAP"}  # fmt: skip


def localization(found: Localization, settings: dict[str, object], sweep: Sequence[SweepRow] = ()) -> Report:
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
