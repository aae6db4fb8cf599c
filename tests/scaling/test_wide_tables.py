"""Tables with a column for each output are as good as long ones, whose rows have a label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import curve_fit

import fvlm
from fvlm_core.plugin_api import FitModel, Parameter
from fvlm_core.utils.errors import FvlmError

FLOORS = {"web": 1.0, "code": 0.6, "books": 1.4}


def floors(T: Any, *, E: Any, B: Any, b: Any) -> Any:
    """L = E(domain) + B(domain)/T^b"""
    return E + B / T**b


LAW = FitModel(
    "floors",
    floors,
    (
        Parameter("E", 1.0, min=0, linear=True, per="domain"),
        Parameter("B", 1.0, min=0, log=True, linear=True, per="domain"),
        Parameter("b", 0.5, min=0.01, max=3),
    ),
    variables=("T",),
)


@pytest.fixture
def wide() -> pd.DataFrame:
    T = np.geomspace(1, 100, 15)
    rng = np.random.default_rng(0)
    losses = {
        f"loss_{name}": floor + 2 * floor / T**0.5 + 0.004 * rng.standard_normal(15)
        for name, floor in FLOORS.items()
    }
    return pd.DataFrame({"T": T, **losses})


def test_any_number_of_outputs_in_columns_is_fitted_as_least_squares_finds(wide: pd.DataFrame) -> None:
    """Three floors and scales, and an exponent that they share."""
    found = fvlm.fit(wide, LAW, outputs="domain=loss_*", objective="mse", draws=20)
    values = found.parameters.set_index("parameter")["value"]
    T, of = np.tile(wide["T"].to_numpy(), 3), np.repeat(range(3), 15)
    best, _ = curve_fit(
        lambda X, *p: np.take(p[:3], of) + np.take(p[3:6], of) / X ** p[6],
        T, wide.drop(columns="T").to_numpy().T.ravel(), (1, 1, 1, 2, 2, 2, 0.5),
    )  # fmt: skip
    names = [f"{part}[{name}]" for part in "EB" for name in FLOORS]
    assert [values[name] for name in [*names, "b"]] == pytest.approx(best.tolist(), rel=1e-5)
    for name, floor in FLOORS.items():
        assert values[f"E[{name}]"] == pytest.approx(floor, abs=0.05)
    assert found.predict(at={"T": 50, "domain": "code"}).loss == pytest.approx(0.6 + 1.2 / 50**0.5, rel=0.01)


def test_a_long_table_says_the_same(wide: pd.DataFrame, tmp_path: Path) -> None:
    long = wide.melt("T", var_name="domain", value_name="loss")
    long["domain"] = long["domain"].str.removeprefix("loss_")
    wide.to_csv(tmp_path / "wide.csv", index=False)
    one = fvlm.fit(str(tmp_path / "wide.csv"), LAW, outputs="domain=loss_*", draws=2)
    other = fvlm.fit(long, LAW, draws=2)
    assert one.points["loss"].tolist() == other.points["loss"].tolist()
    assert one.parameters["value"].tolist() == other.parameters["value"].tolist()


def test_an_empty_cell_is_no_row_and_a_bad_one_is_named(wide: pd.DataFrame, tmp_path: Path) -> None:
    file = tmp_path / "wide.csv"
    wide.loc[2, "loss_web"] = np.nan
    wide.to_csv(file, index=False)
    found = fvlm.fit(str(file), LAW, outputs="domain=loss_web,loss_code", draws=2)
    assert len(found.points) == 29
    assert set(found.points["domain"]) == {"loss_web", "loss_code"}
    assert "domain of 2 columns (loss_web, loss_code); empty cells, which are no rows: 1" in repr(found)
    words: Any = wide.astype(object)
    words.loc[3, "loss_code"] = "many"
    words.to_csv(file, index=False)
    with pytest.raises(FvlmError, match=r"wide.csv:5: loss_code, loss: expected a number, got .*many"):
        fvlm.fit(str(file), LAW, outputs="domain=loss_*", draws=2)


@pytest.mark.parametrize(
    ("outputs", "said"),
    [
        ("loss_*", "expected LABEL=HEADER"),
        ("size=loss_*", 'no law tells groups by "size"; they tell by domain'),
        ("domain=los_web", 'no column "los_web": did you mean "loss_web"'),
        ("domain=acc_*", r'no column "acc_\*"'),
    ],
)
def test_outputs_that_are_not_there_are_refused(wide: pd.DataFrame, outputs: str, said: str) -> None:
    with pytest.raises(FvlmError, match=said):
        fvlm.fit(wide, LAW, outputs=outputs)
