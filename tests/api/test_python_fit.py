"""`fvlm.fit`: the numbers of `fvlm fit`, from a DataFrame, runs or a file; asked, drawn, and as lmfit's own result."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lmfit
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from measured import SIZES, STEPS, TRUTH, chinchilla, grid, points
from tiny import run_cli

import fvlm

pytestmark = pytest.mark.usefixtures("quick_fits")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    """36 points of three sizes about the law of `TRUTH`."""
    return points(TRUTH, list(SIZES.values()), [step * 32 for step in STEPS], noise=0.003)


@pytest.fixture(scope="module")
def fitted(table: pd.DataFrame, quick_fits: None) -> Any:
    return fvlm.fit(table, "joint-chinchilla", draws=50)


def test_a_data_frame_gives_what_its_file_gives_on_the_command_line(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table.to_csv("points.csv", index=False)
    run_cli(
        ["fit", "--data", "points.csv", "--model", "joint-chinchilla", "--draws", "20", "--json", "fit.json"],
        monkeypatch,
        capsys,
    )
    [report] = json.loads(Path("fit.json").read_text())["reports"]
    ours = fvlm.fit(table, "joint-chinchilla", draws=20).to_dict()
    assert ours["fits"] == report["fits"]
    assert ours["data"]["fingerprint"] == report["data"]["fingerprint"]
    of_file = fvlm.fit("points.csv", "joint-chinchilla", draws=20)
    assert json.loads(json.dumps(of_file.to_dict())) == report


def test_columns_are_named_and_a_named_index_is_one(table: pd.DataFrame) -> None:
    named = table.rename(columns={"n": "size in M", "d": "seen", "loss": "val"}).set_index("seen")
    found = fvlm.fit(
        named, "joint-chinchilla", columns={"N": "size in M", "D": "seen", "loss": "val"}, draws=10
    )
    assert found.points["d"].tolist() == fvlm.fit(table, "joint-chinchilla", draws=10).points["d"].tolist()


def test_an_index_that_is_a_column_too_is_that_column(table: pd.DataFrame) -> None:
    found = fvlm.fit(table.set_index("n", drop=False), "joint-chinchilla", draws=10)
    assert found.points["n"].tolist() == fvlm.fit(table, "joint-chinchilla", draws=10).points["n"].tolist()


def test_runs_are_chosen_by_their_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    kept = fvlm.runs()
    two = fvlm.fit(kept[kept["size"] != "400k"], "per-size", draws=10)
    assert set(two.points["size"]) == {"40k", "120k"}
    assert two.groups == ["40k", "120k"]
    assert set(fvlm.fit("runs", "per-size", draws=10).points["size"]) == set(SIZES)
    assert set(fvlm.fit(kept["run"].tolist()[:1], "per-size", draws=10).points["size"]) == {"40k"}


def test_the_numbers_are_near_the_truth_and_said_in_words_and_html(fitted: Any) -> None:
    assert fitted.status == "ok"
    found = fitted.parameters.set_index("parameter")
    inside = [found.low[name] <= TRUTH[name] <= found.high[name] for name in TRUTH]
    assert sum(inside) >= 4
    assert repr(fitted).startswith("joint-chinchilla: L = E + A/N^alpha + B/D^beta")
    assert "<pre" in fitted._repr_html_()
    assert "alpha" in fitted._repr_html_()


def test_it_answers_as_fvlm_predict(
    table: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table.to_csv("points.csv", index=False)
    asked = ["predict", "--data", "points.csv", "--n", "200k", "--d", "8k", "--draws", "20", "--json"]
    _, out, _ = run_cli(asked, monkeypatch, capsys)
    answer = fvlm.fit(table, draws=20).predict(n="200k", d="8k")
    assert answer.to_dict()["prediction"] == json.loads(out)["prediction"]
    assert answer.loss == pytest.approx(chinchilla(2e5, 8e3, **TRUTH), rel=0.01)
    low, high = answer.interval
    assert low < answer.loss < high
    assert "loss" in repr(answer)


def test_what_the_points_do_not_carry_is_refused_with_reasons(fitted: Any) -> None:
    answer = fitted.predict(n="70B", d="20T")
    assert (answer.status, answer.loss) == ("refused", None)
    assert answer.reasons


def test_a_profile_rises_to_1_at_the_ends_of_its_interval(fitted: Any) -> None:
    profile = fitted.profile("beta")
    low, high = profile.attrs["interval"]
    assert np.interp(low, profile["beta"], profile["rise"]) == pytest.approx(1, abs=0.15)
    assert low < fitted.parameters.set_index("parameter").value["beta"] < high


@pytest.mark.parametrize("name", ["loss-data", "residuals"])
def test_a_figure_is_matplotlib_s_and_on_no_disk(
    fitted: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    figure = fitted.figure(name)
    assert isinstance(figure, Figure)
    assert figure.axes
    assert not list(tmp_path.iterdir())


def test_lmfit_s_result_is_what_lmfit_itself_finds_from_there(table: pd.DataFrame) -> None:
    ours = fvlm.fit(table, "joint-chinchilla", objective="mse", draws=10).lmfit
    n, d, loss = (table[name].to_numpy() for name in ("n", "d", "loss"))
    theirs = lmfit.minimize(lambda given: chinchilla(n, d, **given.valuesdict()) - loss, ours.params.copy())
    for name in TRUTH:
        assert theirs.params[name].value == pytest.approx(ours.params[name].value, rel=1e-3)
    assert (ours.ndata, ours.nvarys, ours.nfree) == (theirs.ndata, theirs.nvarys, theirs.nfree)
    numbers = ("chisqr", "redchi", "aic", "bic")
    assert [getattr(ours, name) for name in numbers] == pytest.approx(
        [getattr(theirs, name) for name in numbers], rel=1e-6
    )


def test_the_covariance_is_the_sandwich_of_the_residuals(table: pd.DataFrame) -> None:
    """H^-1 (J' r^2 J) H^-1 n/(n - p), H = J'J (Huber 1967), with numerical derivatives by the values themselves."""
    result = fvlm.fit(table, "joint-chinchilla", objective="mse", draws=10).lmfit
    n, d, loss = (table[name].to_numpy() for name in ("n", "d", "loss"))
    best = result.params.valuesdict()
    columns = []
    for name in result.var_names:
        step = 1e-6 * best[name]
        above, below = (chinchilla(n, d, **{**best, name: best[name] + sign * step}) for sign in (1, -1))
        columns.append((above - below) / (2 * step))
    jacobian, apart = np.array(columns), chinchilla(n, d, **best) - loss
    scale = np.linalg.norm(jacobian, axis=1)
    inverse = np.linalg.inv((jacobian / scale[:, None]) @ (jacobian / scale[:, None]).T) / np.outer(
        scale, scale
    )
    expected = inverse @ (jacobian * apart**2) @ jacobian.T @ inverse * len(n) / (len(n) - len(best))
    assert result.covar == pytest.approx(expected, rel=1e-3)
    assert np.sqrt(np.diag(expected)) == pytest.approx(
        [result.params[name].stderr for name in result.var_names], rel=1e-3
    )
    assert result.params["A"].correl["alpha"] == pytest.approx(
        expected[1, 3] / np.sqrt(expected[1, 1] * expected[3, 3]), rel=1e-3
    )


def test_lmfit_s_errors_are_the_report_s_and_its_report_prints(fitted: Any) -> None:
    result = fitted.lmfit
    table = fitted.parameters.set_index("parameter")
    assert {name: result.params[name].stderr for name in table.index} == pytest.approx(dict(table.stderr))
    assert "alpha" in lmfit.fit_report(result)
    assert "C(" in lmfit.fit_report(result)


def test_of_several_groups_one_is_named(table: pd.DataFrame) -> None:
    sizes = fvlm.fit(table, "per-size", draws=10)
    with pytest.raises(fvlm.FvlmError, match=r'result\["40k"\]'):
        _ = sizes.lmfit
    assert sizes["120k"].lmfit.ndata == 12
    assert len(sizes["120k"].profile("b")) > 10
    with pytest.raises(fvlm.FvlmError, match='did you mean "120k"'):
        _ = sizes["121k"]
