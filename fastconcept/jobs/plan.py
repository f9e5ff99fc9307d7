"""What a job is cut into: units of work, one shard each. It is planned once, so that every run sees the same rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from ..errors import InputError
from .places import Folder

PLAN = "job/plan.json"
ROWS = "job/rows.parquet"


@dataclass(frozen=True)
class Unit:
    """The rows of one shard.

    Attributes
    ----------
    kind : {"listed", "parquet", "tar"}
        Rows of the job's own list of files, of a parquet file, or a whole tar.
    file : str
        The place of the parquet file or tar; a list lies in the folder of the job.
    start, stop : int
        Rows of the file; 0 and 0 for a tar, whose rows nobody has counted.
    weight : int
        Share of the work, in rows, or in bytes of a tar.
    """

    kind: Literal["listed", "parquet", "tar"]
    file: str
    start: int
    stop: int
    weight: int


@dataclass(frozen=True)
class Plan:
    """All units of a job, and how their rows are read.

    Attributes
    ----------
    units : tuple of Unit
    rows : int or None
        Number of rows; None for tars.
    image : str
        Column that holds images or their paths; "" for a tar.
    base : str
        Folder that relative paths begin at; "" for that of the file.
    columns : mapping of str to str
        Columns of the source that rows carry, and their names in the shards.
    where : mapping of str to str
        Shell patterns that the columns of a row must match; a list holds only such rows.
    """

    units: tuple[Unit, ...]
    rows: int | None
    image: str = ""
    base: str = ""
    columns: Mapping[str, str] = ()  # type: ignore[assignment]
    where: Mapping[str, str] = ()  # type: ignore[assignment]

    @property
    def weight(self) -> int:
        """The whole work, in the unit of the weights."""
        return sum(unit.weight for unit in self.units)

    def check(self) -> None:
        """Raise :class:`ValueError` if a value has another type than jobs write."""
        for unit in self.units:
            numbers = (unit.start, unit.stop, unit.weight)
            whole = all(type(number) is int for number in numbers) and 0 <= unit.start <= unit.stop and unit.weight > 0
            if unit.kind not in ("listed", "parquet", "tar") or not isinstance(unit.file, str) or not whole:
                raise ValueError(f"a unit is {unit}")
        pairs = (*dict(self.columns).items(), *dict(self.where).items())
        texts = [self.image, self.base, *(text for pair in pairs for text in pair)]
        if not self.units or not all(isinstance(text, str) for text in texts):
            raise ValueError("it has no units, or columns that are no text")

    def save(self, folder: Folder) -> None:
        """Write it into the folder of a job."""
        with folder.write(PLAN) as stream:
            stream.write(json.dumps(asdict(self)).encode())

    @classmethod
    def load(cls, folder: Folder) -> Plan:
        """Read it from the folder of a job.

        Raises
        ------
        InputError
            If it is not there or damaged.
        """
        try:
            document: dict[str, Any] = json.loads(folder.read(PLAN))
            units = tuple(Unit(**unit) for unit in document.pop("units"))
            plan = cls(units, **document)
            plan.check()
            return plan
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            message = f"{folder.file(PLAN)} cannot be read as the plan of a job"
            raise InputError(f"{message}: {error}; on a cluster, every node must see {folder}") from None


def shard_name(number: int) -> str:
    """File name of a shard.

    Examples
    --------
    >>> shard_name(7)
    'part-000007.parquet'
    """
    return f"part-{number:06d}.parquet"
