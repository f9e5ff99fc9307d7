"""A planted trend raises an alarm, and the same items in random order raise none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from fastconcept.datasets.dataset import Dataset
from fastconcept.engine import Engine
from fastconcept.errors import InputError
from fastconcept.evaluate.drift import drift

Rows = Callable[..., Dataset]


def test_drift_raises_alarms_where_weights_move(planted: Engine, write_rows: Rows) -> None:
    years = [year for year in range(2000, 2010) for _ in range(12)]
    codes = [{"cat": 1.0, "snow": 0.05 * (year - 2000), "rain": 0.3} for year in years]
    data = write_rows(codes, noise=0.05, year=[str(year) for year in years])
    result = drift(planted, data, "year", l1_penalty=0.05, repeats=400)
    assert [name for name, _ in result.groups] == [str(year) for year in range(2000, 2010)]
    snow = next(t for t in result.trends if t.word == "snow")
    assert snow.alarm and snow.trend > 0.8 and snow.means == sorted(snow.means) and result.trends[0].q <= snow.q
    rain = next(t for t in result.trends if t.word == "rain")
    assert rain.means[0] == pytest.approx(0.27, abs=0.05)
    order = np.random.default_rng(0).permutation(len(years))
    still = write_rows(codes, noise=0.05, year=[str(years[i]) for i in order])
    assert drift(planted, still, "year", l1_penalty=0.05, repeats=400).alarms == 0
    assert result.alarms_null < 1
    with pytest.raises(InputError, match="0 values"):
        drift(planted, data, "month")
    with pytest.raises(InputError, match="rate"):
        drift(planted, data, "year", rate=0)
