"""What the GPU path must reach on an H100 or H200, and whether a run did: one line for each bar, in every document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

SANITIZERS = ("memcheck", "racecheck", "synccheck", "initcheck")


class Bar(NamedTuple):
    """A target; ``measure`` finds its number among the rows of a run by name, or raises KeyError."""

    name: str
    unit: str
    target: float
    at_most: bool
    measure: Callable[[dict[str, dict[str, Any]]], float]


def rows_of(steps: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Every row of the steps that are done, however deep, and every step itself, by name.

    >>> sorted(rows_of([{"name": "a", "status": "done", "result": [{"name": "b", "explain": {"name": "c"}}]}]))
    ['a', 'b', 'c']
    """

    def walk(item: Any) -> Iterator[dict[str, Any]]:
        if isinstance(item, dict):
            if "name" in item:
                yield item
            for part in (item.get("result"), item.get("explain")):
                yield from walk(part)
        elif isinstance(item, list):
            for part in item:
                yield from walk(part)

    return {row["name"]: row for row in walk(steps)}


def _fastest(prefix: str) -> Callable[[dict[str, dict[str, Any]]], float]:
    def measure(rows: dict[str, dict[str, Any]]) -> float:
        times = [row["ms"] for name, row in rows.items() if name.startswith(prefix)]
        if not times:
            raise KeyError(prefix)
        return float(min(times))

    return measure


def _unclean(rows: dict[str, dict[str, Any]]) -> float:
    tools = [rows[f"sanitize-{tool}"] for tool in SANITIZERS]
    if any(tool["status"] not in ("done", "failed") for tool in tools):
        raise KeyError("sanitize")
    return float(sum(tool["status"] == "failed" for tool in tools))


BARS = (
    Bar("ranks of one concept, 730 x 82,115", "ms", 1.0, True, lambda rows: rows["ranks one concept 82115"]["ms"]),
    Bar("ranks and maps of all 82,115 concepts", "ms", 3.0, True, lambda rows: rows["ranks and maps all 82115"]["ms"]),
    Bar(
        "sparse codes at batch 4096, 10,000 words, lambda 0.25, gap 1e-4",
        "per second",
        300_000,
        False,
        lambda rows: rows["nnlasso 4096 gap 0.0001"]["per_second"],
    ),
    Bar(
        "sparse codes beside ADMM",
        "times",
        20,
        False,
        lambda rows: rows["nnlasso 4096 gap 0.0001"]["per_second"] / rows["ADMM"]["per_second"],
    ),
    Bar("whole faithful explanation, ViT-B/32", "ms", 40.0, True, _fastest("explain ViT-B/32")),
    Bar("whole dense explanation, ViT-B/16", "ms", 5.0, True, _fastest("explain dense ViT-B/16")),
    Bar("compute-sanitizer, tools with findings", "tools", 0, True, _unclean),
)


def judge(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every bar with what was measured: reached is true, false, or null with the reason.

    >>> judge([])[0]["reached"] is None
    True
    """
    rows, judged = rows_of(steps), []
    for bar in BARS:
        line: dict[str, Any] = {"bar": bar.name, "unit": bar.unit, "target": bar.target}
        line["better"] = "lower" if bar.at_most else "higher"
        try:
            measured = bar.measure(rows)
        except KeyError as missing:
            line.update(measured=None, reached=None, reason=f"not measured: {missing.args[0]}")
        else:
            reached = measured <= bar.target if bar.at_most else measured >= bar.target
            line.update(measured=measured, reached=bool(reached))
        judged.append(line)
    return judged
