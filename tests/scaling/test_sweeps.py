"""Learning-rate sweeps: those of other data or batch sizes are other sweeps, and what N and D do together is said."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from run_folders import write_run

import fvlm
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.points.points import tidy
from fvlm_core.scaling.points.points_from_runs import from_runs, stored_runs
from fvlm_core.utils.errors import FvlmError, UsageError


def fitted(settings: Iterable[tuple[float, float, float]], noise: float = 0.0005) -> Any:
    """Sweeps whose best rate is 2 N^-0.4 D^-0.1, by N, D and batch size."""
    rng = np.random.default_rng(0)
    rows = [
        {"n": n, "d": d, "batch": batch, "lr": lr,
         "loss": 2 + 0.1 * np.log(lr / best) ** 2 + noise * rng.standard_normal()}
        for n, d, batch in settings
        for best in [2 * n**-0.4 * d**-0.1]
        for lr in best * np.array([0.1, 0.3, 1.0, 2.0, 5.0])
    ]  # fmt: skip
    return fit_points(tidy(pd.DataFrame(rows), "sweeps"), load_model("lr-optimum"), "mse", draws=50)


def test_sweeps_of_other_data_or_batches_are_never_pooled() -> None:
    found = fitted([(1e7, 1e9, 64.0), (1e7, 1e10, 64.0), (1e8, 1e9, 64.0), (1e8, 1e9, 256.0)])
    assert [fit.group for fit in found.fits] == [
        "10M, D = 1B",
        "10M, D = 10B",
        "100M, batch = 64",
        "100M, batch = 256",
    ]
    for fit in found.fits:
        n, d = fit.problem.table["n"].iloc[0], fit.problem.table["d"].iloc[0]
        assert abs(fit.values["best"] / (2 * n**-0.4 * d**-0.1) - 1) < 0.05


def test_n_and_d_that_change_together_are_said_to_be_confounded() -> None:
    found = fitted([(n, 20 * n, 64.0) for n in (1e7, 3e7, 1e8, 1e9)])
    text = str(found.relation)
    assert "N and D are confounded: over these groups D goes as N^1" in text
    assert abs(found.relation.exponent + 0.5) < 0.02  # of both


def test_three_groups_cannot_tell_n_and_d_apart_and_are_not_called_confounded() -> None:
    found = fitted([(1e7, 1e9, 64.0), (1e8, 1e10, 64.0), (1e9, 1e9, 64.0)])
    assert found.relation.beside == (
        "D differs as well (1B to 10B) and three groups cannot tell the two apart: add a sweep"
    )


def store(root: Path, evaluation: Mapping[str, Any], batches: Sequence[int]) -> Any:
    """Points of kept runs at five rates for each batch size of their recipes."""
    for batch in batches:
        for rate in (1e-4, 3e-4, 1e-3, 3e-3, 1e-2):
            loss = 2 + 0.1 * np.log(rate / 1e-3) ** 2
            folder = write_run(
                root, f"r/{batch}-{rate}", loss, evaluation={"lr_connector": rate, **evaluation}
            )
            recipe = json.loads((folder / "recipe.json").read_text())
            recipe["resolved"]["training"]["batch_size"] = batch
            (folder / "recipe.json").write_text(json.dumps(recipe))
    return lambda *laws: from_runs(stored_runs(root), "store", laws=[load_model(law) for law in laws])


def test_kept_runs_of_other_batches_are_other_sweeps(tmp_path: Path) -> None:
    points = store(tmp_path, {}, (64, 256))("lr-optimum")
    found = fit_points(points, load_model("lr-optimum"), "mse", draws=5)
    assert {fit.group for fit in found.fits} == {"135M, batch = 64", "135M, batch = 256"}


def test_a_variable_that_no_kept_run_has_is_no_column(tmp_path: Path) -> None:
    points = store(tmp_path, {"V": "many"}, (64,))
    assert "T" not in points("lr-optimum").table
    with pytest.raises(UsageError, match=r'run 64-0.0001: V: expected a finite number, got "many"'):
        points("visual-tokens")
    (tmp_path / "other").mkdir()
    bare = store(tmp_path / "other", {"V": 4}, (64,))("video", "lr-optimum")
    assert set(bare.table["V"]) == {4.0}
    with pytest.raises(UsageError, match=r"Record T or .* as a metric of an evaluation") as told:
        bare.of_law(load_model("video"))
    assert "--columns" not in str(told.value)


def test_n_and_d_that_change_by_themselves_have_an_exponent_each() -> None:
    found = fitted([(n, d, 64.0) for n in (1e7, 1e8, 1e9) for d in (1e9, 1e10)])
    assert abs(found.relation.exponent + 0.4) < 0.02
    assert abs(found.relation.data_exponent + 0.1) < 0.02
    assert "at equal D" in str(found.relation)
    assert found.relation.interval.low < -0.4 < found.relation.interval.high


def test_sizes_of_unknown_n_have_no_exponent() -> None:
    rows = pd.concat([fitted([(n, 1e9, 64.0)]).points.table for n in (1e7, 1e8)])
    found = fit_points(tidy(rows.assign(n=np.nan), "sweeps"), load_model("lr-optimum"), "mse", draws=5)
    assert str(found.relation) == "best across groups: N, the parameters, is not known of 100M, 10M"


def test_equal_data_leave_the_exponent_as_it_was() -> None:
    found = fitted([(n, 1e10, 64.0) for n in (1e7, 1e8, 1e9)])
    assert (found.relation.beside, found.relation.data_exponent) == ("", None)
    assert [fit.group for fit in found.fits] == ["10M", "100M", "1B"]


def test_sweeps_that_share_one_d_but_for_a_little_are_not_called_confounded() -> None:
    """ln D spans .18 beside 4.6 of ln N: what D^-0.1 does to the exponent of N is .004."""
    found = fitted([(1e7, 1e9, 64.0), (1e8, 1e9, 64.0), (1e9, 1.2e9, 64.0)])
    told = r"D is taken for one \(1B to 1.2B\): a power D\^q of it moves the exponent by 0.0[345] q"
    assert re.fullmatch(told, found.relation.beside)
    assert abs(found.relation.exponent + 0.4) < 0.01
    assert "confounded" not in str(found.relation)


def test_a_batch_is_in_the_unit_of_d(tmp_path: Path) -> None:
    """A recipe's batch is in samples: where D counts tokens it is as many tokens as these samples had on average."""
    store(tmp_path, {"tokens_seen": 128_000}, (64,))
    runs, law = stored_runs(tmp_path), load_model("lr-batch")
    of_samples, of_tokens = (from_runs(runs, "store", d=kind, laws=[law]) for kind in ("samples", "tokens"))
    assert set(of_samples.table["batch"]) == {64}
    assert set(of_tokens.table["batch"]) == {64 * 40}
    assert "batch: in the unit of D" in of_tokens.counted(law)
    assert of_tokens.remarks == ("batch is what recipes say in training samples, in supervised text tokens",)
    assert of_samples.remarks == ()


def test_a_batch_in_another_unit_than_d_is_refused(tmp_path: Path) -> None:
    columns = "n,samples_seen,lr,batch_tokens,loss\n1e7,1e6,1e-3,2048,3.0\n"
    (tmp_path / "table.csv").write_text(columns)
    with pytest.raises(FvlmError, match='"batch_tokens" and "samples_seen" count other things'):
        fvlm.fit(str(tmp_path / "table.csv"), "lr-batch")


@pytest.mark.parametrize("law", ["lr-optimum", "lr-batch"])
@pytest.mark.parametrize("share", ["all", "one"])
def test_a_learning_rate_of_0_is_refused_with_what_to_write(law: str, share: str) -> None:
    """What cosine schedules leave at the end: neither a crash, nor a sweep that reaches down to 0."""
    table = fitted([(1e7, 1e9, 64.0), (1e8, 1e9, 256.0)]).points.table
    table.loc[table.index[: None if share == "all" else 1], "lr"] = 0.0
    with pytest.raises(
        FvlmError, match=r'is 0, which has no logarithm.*--where "lr > 0".*--columns lr=HEADER'
    ):
        fvlm.fit(table[["n", "d", "batch", "lr", "loss"]], law)
