"""`fvlm runs compare`: differences that are there are found, those that are noise are called so, and what cannot be
known is said."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from run_folders import validation, write_run
from tiny import run_cli

from fvlm_core.api.views.comparison import show_tables
from fvlm_core.api.views.console import as_text
from fvlm_core.comparison import Comparison, compare, table
from fvlm_core.comparison.formats import FORMATS, one_column
from fvlm_core.comparison.measured import ComparedRun, Variant
from fvlm_core.comparison.multiplier import multiplier
from fvlm_core.comparison.statistics import Repeats, holm, influence, over_both, over_samples, paired
from fvlm_core.runs.per_sample_loss import Scored
from fvlm_core.runs.store import StoredRun, list_runs, open_run
from fvlm_core.utils.errors import UsageError

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.setenv("FVLM_RUNS", str(tmp_path))
    return lambda *arguments: run_cli(["runs", "compare", *arguments], monkeypatch, capsys)


def seeds(
    root: Path, name: str, shifts: list[float], *, noise: float = 0.02, order: int = 0, **more: Any
) -> None:
    """Runs `name-s0` ... of the recipe "phase", the loss of each a shift higher."""
    for number, shift in enumerate(shifts):
        own = validation(shift, noise, seed=97 * order + number)
        write_run(root, f"phase/{name}-s{number}", seed=42 + number, samples=own, order=order, **more)


def verdicts(comparison: Comparison) -> dict[str, str]:
    return {row.variant.name: row.judged.verdict for row in comparison.rows}


def test_a_difference_beyond_the_noise_is_found_and_one_inside_is_not(tmp_path: Path) -> None:
    seeds(tmp_path, "baseline", [0.0, 0.004, -0.004])
    seeds(tmp_path, "A1", [-0.08, -0.077, -0.085], order=1, connector={"depth": "shallow"})
    seeds(tmp_path, "A2", [0.09, 0.094, 0.085], order=2, connector={"query_dim": 192})
    seeds(tmp_path, "A3", [0.03, -0.04, 0.02], order=3, connector={"bias": True})
    found = compare(list_runs(tmp_path))
    assert verdicts(found) == {
        "baseline": "baseline",
        "A1": "better",
        "A2": "worse",
        "A3": "inside the noise",
    }
    of = found.rows[1].judged.of
    assert of.both is not None
    assert of.both.low < -0.08 < of.both.high
    assert (of.seeds, of.paired) == (3, False)
    # Of these weights alone, the noise of A3's seeds does not show: its interval is much narrower.
    third = found.rows[3].judged.of
    assert third.both is not None
    assert third.weights is not None
    assert third.both.half > 5 * third.weights.half


def test_one_seed_never_gets_a_verdict(tmp_path: Path) -> None:
    write_run(tmp_path, "phase/baseline", samples=validation())
    write_run(tmp_path, "phase/A1", samples=validation(-0.1, 0.02), order=1, connector={"depth": "shallow"})
    found = compare(list_runs(tmp_path))
    judged = found.rows[1].judged
    assert (judged.verdict, judged.of_weights, judged.of.both) == ("seeds not known", "better", None)
    assert any(
        note.startswith("noise between seeds not known: baseline, A1 have one seed") for note in found.notes
    )
    text = FORMATS["markdown"]([table(found)])
    assert "noise between seeds not known; these weights: better" in text


def test_pairing_takes_out_what_is_the_samples_own(tmp_path: Path) -> None:
    write_run(tmp_path, "phase/baseline", samples=validation())
    write_run(tmp_path, "phase/A1", samples=validation(0.01, 0.01), order=1)
    of = compare(list_runs(tmp_path)).rows[1].judged.of
    assert of.weights is not None
    own = validation()
    tokens = np.array([s.tokens for s in own], dtype=float)
    alone = float(np.sum(influence(np.array([s.loss for s in own]), tokens) ** 2)) ** 0.5
    assert of.weights.error < alone / 20
    assert of.weights.low < 0.01 < of.weights.high


def test_the_interval_is_that_of_the_ratio_estimator(tmp_path: Path) -> None:
    """By hand, with one source: d = sum(a - b) / sum(t), its residuals e = (a - b - d t) / sum(t)."""
    a = [Scored(f"x/{n}", loss, t) for n, (loss, t) in enumerate([(3.0, 2), (5.0, 4), (2.0, 1), (9.0, 5)])]
    b = [Scored(f"x/{n}", loss, t) for n, (loss, t) in enumerate([(2.0, 2), (5.5, 4), (1.5, 1), (7.0, 5)])]
    write_run(tmp_path, "phase/b", samples=b)
    write_run(tmp_path, "phase/a", samples=a, order=1)
    of = compare(list_runs(tmp_path), baseline="b").rows[1].judged.of
    d = 3.0 / 12
    e = [(x - d * t) / 12 for x, t in zip([1.0, -0.5, 0.5, 2.0], [2, 4, 1, 5], strict=True)]
    error = math.sqrt(4 / 3 * sum(x * x for x in e))
    assert of.weights is not None
    assert of.weights.value == pytest.approx(d, abs=1e-12)
    assert of.weights.error == pytest.approx(error, rel=1e-9)
    assert of.weights.high == pytest.approx(
        d + 3.182446305 * error, rel=1e-6
    )  # Student's t, 3 degrees of freedom


def test_sources_are_strata() -> None:
    """A set whose two sources differ by much: only what varies inside a source is noise of the difference."""
    tokens = np.ones(200)
    sources = np.repeat([0, 1], 100)
    losses = np.where(sources == 0, 1.0, 3.0) + np.random.default_rng(0).normal(0, 0.1, 200)
    group = Repeats(1.0, np.array([losses.mean()]), influence(losses, tokens)[None])
    inside = over_samples([group], sources)
    whole = over_samples([group], np.zeros(200, dtype=np.int64))
    assert inside is not None
    assert whole is not None
    assert inside.error == pytest.approx(0.1 / 200**0.5, rel=0.15)
    assert whole.error > 8 * inside.error


def test_the_variance_over_seeds_and_samples_is_the_sum_less_what_is_in_both() -> None:
    random = np.random.default_rng(1)
    hits = 0
    for _ in range(300):
        effect = random.normal(0, 0.02, 300)  # of the samples, the same in every seed
        shifts = random.normal(0, 0.001, 3)
        losses = 0.01 + effect + shifts[:, None] + random.normal(0, 0.01, (3, 300))
        parts = np.array([influence(each, np.ones(300)) for each in losses])
        interval = over_both([Repeats(1.0, losses.mean(axis=1), parts)], np.zeros(300, dtype=np.int64))
        assert interval is not None
        hits += interval.low <= 0.01 <= interval.high
    assert 0.91 <= hits / 300 <= 0.985


def test_many_seeds_that_coincide_are_paired_and_others_are_not(tmp_path: Path) -> None:
    own = [0.0, 0.05, 0.1, 0.02, 0.07]
    seeds(tmp_path, "baseline", own, noise=0.001)
    seeds(tmp_path, "A1", [x + 0.02 for x in own], order=1, noise=0.001, connector={"depth": "shallow"})
    same = compare(list_runs(tmp_path)).rows[1].judged
    assert (same.of.paired, same.verdict) == (True, "worse")
    for number in range(5):  # other seeds: what the seeds had in common helps no more
        file = tmp_path / "phase" / f"A1-s{number}" / "recipe.json"
        record = json.loads(file.read_text())
        record["seed"] += 100
        record["resolved"]["training"]["seed"] += 100
        file.write_text(json.dumps(record))
    other = compare(list_runs(tmp_path)).rows[1].judged
    assert (other.of.paired, other.verdict) == (False, "inside the noise")
    assert other.of.value == pytest.approx(same.of.value)


def test_more_seeds_on_one_side_leave_the_common_ones(tmp_path: Path) -> None:
    own = [0.0, 0.05, 0.1, 0.02, 0.07]
    seeds(tmp_path, "baseline", [*own, 0.6], noise=0.001)
    seeds(tmp_path, "A1", [x + 0.02 for x in own], order=1, noise=0.001, connector={"depth": "shallow"})
    found = compare(list_runs(tmp_path))
    assert found.rows[1].judged.of.value == pytest.approx(0.02, abs=0.002)
    assert "A1: of the 5 seeds that all have" in found.notes


def test_few_seeds_are_each_variant_s_own(tmp_path: Path) -> None:
    """By hand: Welch's interval, where the samples add nothing (every token of a run the same)."""
    for name, shifts in (("baseline", [0.0, 0.01, 0.05]), ("A1", [0.1, 0.13, 0.1])):
        for number, shift in enumerate(shifts):
            samples = [Scored(f"x/{n}", (1.5 + shift) * 10, 10) for n in range(5)]
            write_run(tmp_path, f"phase/{name}-s{number}", seed=42 + number, samples=samples)
    of = compare(list_runs(tmp_path), baseline="baseline").rows[1].judged.of
    parts = [np.var([0.0, 0.01, 0.05], ddof=1) / 3, np.var([0.1, 0.13, 0.1], ddof=1) / 3]
    freedom = sum(parts) ** 2 / sum(part**2 / 2 for part in parts)
    assert of.both is not None
    assert not of.paired
    assert of.both.value == pytest.approx(0.09)
    assert of.both.error == pytest.approx(sum(parts) ** 0.5)
    assert of.both.freedom == pytest.approx(freedom)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fingerprint": "other"}, "were validated on other data: their fingerprints differ"),
        (
            {"samples": validation(prefix="z")},
            "were validated on other samples: 400 and 400, of which 0 are the same",
        ),
        (
            {"samples": validation()[:300]},
            "were validated on other samples: 300 and 400, of which 300 are the same",
        ),
        (
            {"samples": [Scored(s.id, s.loss, s.tokens + 1) for s in validation()]},
            "score other numbers of tokens of the same samples: another tokenizer or text limit",
        ),
    ],
)
def test_other_validation_data_are_refused_with_the_reason(
    tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    write_run(tmp_path, "phase/baseline", samples=validation())
    write_run(tmp_path, "phase/A1", order=1, **({"samples": validation(0.1)} | change))
    found = compare(list_runs(tmp_path))
    of = found.rows[1].judged.of
    assert (found.rows[1].judged.verdict, of.weights, of.both) == ("not comparable", None, None)
    assert said in str(of.unlike)
    assert any(said in note for note in found.notes)


def test_the_order_of_the_samples_does_not_matter(tmp_path: Path) -> None:
    write_run(tmp_path, "phase/baseline", samples=validation())
    write_run(tmp_path, "phase/A1", samples=validation(0.1)[::-1], order=1)
    of = compare(list_runs(tmp_path)).rows[1].judged.of
    assert of.weights is not None
    assert of.weights.error < 1e-9  # every token the same 0.1 worse


def test_a_sample_without_a_number_is_named(tmp_path: Path) -> None:
    broken = validation(0.1)
    file = write_run(tmp_path, "phase/A1", samples=broken, order=1) / "validation" / "step-00000100.json"
    columns = json.loads(file.read_text())
    columns["losses"][4] = None
    file.write_text(json.dumps(columns))
    write_run(tmp_path, "phase/baseline", samples=validation())
    found = compare(list_runs(tmp_path))
    assert found.rows[1].judged.verdict == "no interval"
    assert f"A1 has no number for the loss of {broken[4].id}" in found.notes


def test_runs_without_losses_of_samples_have_differences_and_no_interval(tmp_path: Path) -> None:
    """As imported runs are: a loss, no validation folder, no recipe."""
    for order, (name, loss) in enumerate({"baseline": 1.3605, "A1": 1.3491, "A6": 1.3686}.items()):
        write_run(
            tmp_path, f"old/{name}", loss, order=order, fingerprint=None, resolved=False, schedule="cosine"
        )
    found = compare(list_runs(tmp_path))
    assert [row.judged.of.value for row in found.rows[1:]] == pytest.approx([-0.0114, 0.0081])
    assert set(list(verdicts(found).values())[1:]) == {"no interval"}
    assert "no interval is possible: one seed each, and no losses of single samples" in found.notes
    text = FORMATS["markdown"]([table(found)])
    assert "| A1 | 1 | 1.3491 | -0.0114 | noise not known |" in text


def test_seeds_without_losses_of_samples_have_an_interval_over_seeds_alone(tmp_path: Path) -> None:
    for name, losses in (("baseline", [1.36, 1.37, 1.35]), ("A1", [1.26, 1.27, 1.251])):
        for number, loss in enumerate(losses):
            write_run(tmp_path, f"old/{name}-s{number}", loss, seed=number, resolved=False, fingerprint=None)
    found = compare(list_runs(tmp_path), baseline="baseline")
    judged = found.rows[1].judged
    assert (judged.verdict, judged.of.weights) == ("better", None)
    assert judged.of.both is not None
    variance = np.var([1.36, 1.37, 1.35], ddof=1) + np.var([1.26, 1.27, 1.251], ddof=1)
    assert judged.of.both.error == pytest.approx((variance / 3) ** 0.5)
    assert judged.of.both.freedom == pytest.approx(4.0, abs=0.05)


def test_the_founding_runs_compare(shared: Path, tmp_path: Path) -> None:
    """The export of the founding project as run folders: losses, curves, nothing else."""
    export = shared / "data" / "phase1b_export"
    points = list(csv.DictReader((export / "all_eval_points.csv").open()))
    for order, row in enumerate(csv.DictReader((export / "run_summaries.csv").open())):
        own = [p for p in points if p["run_id"] == row["run_id"]]
        curve = [(int(p["step"]), float(p["val_loss"])) for p in own][:-1]
        write_run(
            tmp_path, f"phase1b/{row['run_id']}", float(row["best_val_loss"]), curve=curve, order=order,
            steps=int(own[-1]["step"]), planned=int(own[-1]["step"]), schedule=row["lr_schedule"],
            size=row["model_size"], fingerprint=None, resolved=False,
        )  # fmt: skip
    found = compare(list_runs(tmp_path), baseline="135M-C3-F")
    by_name = {row.variant.name: row for row in found.rows}
    assert by_name["135M-C4-F"].judged.of.value == pytest.approx(1.228569 - 1.3131518, abs=1e-6)
    assert by_name["135M-C4-F"].judged.verdict == "no interval"
    times = by_name["135M-C4-F"].multiplier.value
    assert times is not None
    assert times > 1
    assert any(note.startswith("* the learning rate of 135M-C3-F") for note in found.notes)
    assert any("models of several sizes: 135M, 360M" in note for note in found.notes)


def test_the_two_by_two_is_found_and_its_interaction_is_the_one_put_in(tmp_path: Path) -> None:
    shallow, coarse = {"depth": "shallow"}, {"mode": "coarse_only"}
    seeds(tmp_path, "baseline", [0.0, 0.002, -0.002], noise=0.005)
    seeds(tmp_path, "A1", [0.05, 0.052, 0.049], order=1, noise=0.005, connector=shallow)
    seeds(tmp_path, "A2", [0.3, 0.31, 0.29], order=2, noise=0.005, connector={"query_dim": 192})
    seeds(tmp_path, "A6", [0.08, 0.081, 0.079], order=3, noise=0.005, connector=coarse)
    seeds(tmp_path, "A7", [0.23, 0.231, 0.23], order=4, noise=0.005, connector={**shallow, **coarse})
    found = compare(list_runs(tmp_path))
    ((square, judged),) = found.factorials
    assert [effect.name for effect in square.effects] == ["A1", "A6", "A1 x A6"]
    values = [effect.of.value for effect in square.effects]
    assert values == pytest.approx([(0.05 + 0.15) / 2, (0.08 + 0.18) / 2, 0.23 - 0.05 - 0.08], abs=0.004)
    assert [each.verdict for each in judged] == ["worse", "worse", "worse"]
    for effect, true in zip(square.effects, (0.10, 0.13, 0.10), strict=True):
        assert effect.of.both is not None
        assert effect.of.both.low < true + 0.003
        assert effect.of.both.high > true - 0.003
    named = compare(list_runs(tmp_path), factors=("A6", "A1"))
    assert [effect.name for effect in named.factorials[0][0].effects] == ["A6", "A1", "A6 x A1"]
    with pytest.raises(
        UsageError, match="no variant changes just what A1 and A2 change; name it as the third"
    ):
        compare(list_runs(tmp_path), factors=("A1", "A2"))
    with pytest.raises(UsageError, match='no variant is called "A8"; there are A1, A2, A6, A7'):
        compare(list_runs(tmp_path), factors=("A1", "A8"))


def test_settings_that_add_up_have_no_interaction(tmp_path: Path) -> None:
    shallow, coarse = {"depth": "shallow"}, {"mode": "coarse_only"}
    for order, (name, shift, own) in enumerate(
        [
            ("baseline", 0.0, {}),
            ("A1", 0.05, shallow),
            ("A6", 0.08, coarse),
            ("A7", 0.13, {**shallow, **coarse}),
        ]
    ):
        spread = np.random.default_rng(order).normal(0, 0.004, 3)
        seeds(tmp_path, name, [shift + x for x in spread], order=order, connector=own)
    ((_, judged),) = compare(list_runs(tmp_path)).factorials
    assert judged[2].verdict == "inside the noise"


CURVE = [(10, 3.0), (20, 2.5), (40, 2.0), (80, 1.7)]


def test_the_multiplier_is_how_much_more_the_baseline_needs(tmp_path: Path) -> None:
    write_run(tmp_path, "phase/baseline", 1.6, curve=CURVE)
    write_run(tmp_path, "phase/half", 1.5, curve=[(step // 2, loss) for step, loss in CURVE], order=1)
    write_run(tmp_path, "phase/worse", 2.0, curve=[(40, 2.5)], order=2, steps=80)
    write_run(tmp_path, "phase/late", 1.55, curve=[(90, 1.56)], order=3)
    rows = {row.variant.name: row.multiplier for row in compare(list_runs(tmp_path)).rows}
    # "half" comes down to the baseline's 1.6, of step 100, between its steps 40 (1.7) and 100 (1.5).
    assert rows["half"].value == pytest.approx(100 / math.exp((math.log(40) + math.log(100)) / 2), rel=1e-9)
    assert rows["half"].loss == 1.6
    assert rows["worse"].value == pytest.approx(0.5)  # 2.0 at step 80, where the baseline had it at 40
    assert (rows["late"].value, rows["late"].bound) == (
        pytest.approx(100 / 90),
        "at least",
    )  # below 1.6 at once
    assert {each.unit for each in rows.values() if each.value} == {"FLOPs"}


def _variant(name: str, curves: list[list[float]]) -> Variant:
    """Seeds 0, 1, ... with a loss at each of steps 10, 20, ..., a FLOP each."""
    runs: list[ComparedRun] = []
    for seed, losses in enumerate(curves):
        curve = np.array([[10 * n, 10 * n, 10 * n, loss] for n, loss in enumerate(losses, start=1)])
        stored = StoredRun(Path(), {"seed": seed})
        runs.append(ComparedRun(stored, {}, min(losses), curve, None))
    return Variant(name, tuple(runs), {})


_CURVES = st.lists(
    st.lists(st.floats(0.5, 4.0), min_size=5, max_size=5), min_size=1, max_size=4
)  # that may rise again, as small runs do


@given(ours=_CURVES, theirs=_CURVES)
def test_a_multiplier_lies_within_its_own_bracket(ours: list[list[float]], theirs: list[list[float]]) -> None:
    found = multiplier(_variant("ours", ours), _variant("theirs", theirs))
    if found.low is None:
        return
    assert found.value is not None
    assert found.high is not None
    assert 0 < found.low <= found.value <= found.high


def test_the_multiplier_of_seeds_is_that_of_the_seeds_and_not_of_their_mean_curves() -> None:
    """Each seed needs what its own baseline needs; the mean curve of the variant, whose best is 1.5, would say 0.91."""
    ours, theirs = [[3.0, 1.0, 2.0], [3.0, 2.0, 1.0]], [[3.0, 1.0, 1.0], [3.0, 1.5, 1.0]]
    found = multiplier(_variant("ours", ours), _variant("theirs", theirs))
    assert (found.low, found.value, found.high, found.loss) == (1.0, 1.0, 1.0, 1.0)
    half = multiplier(
        _variant("ours", ours), _variant("theirs", [theirs[0], [3.0, 2.0, 1.5, 1.25, 1.0, 1.0]])
    )
    assert (half.low, half.high) == (1.0, pytest.approx(50 / 30))
    assert half.value == pytest.approx(math.sqrt(50 / 30))


def test_seeds_that_bound_a_multiplier_from_both_sides_leave_the_mean_curves_alone() -> None:
    at_once, later = [1.0, 1.0, 1.0], [3.0, 2.0, 1.5]
    found = multiplier(_variant("ours", [at_once, later]), _variant("theirs", [later, at_once]))
    assert (found.value, found.low, found.high) == (1.0, None, None)


def test_the_multiplier_of_a_decaying_rate_is_marked(tmp_path: Path) -> None:
    write_run(tmp_path, "phase/baseline", 1.6, curve=CURVE, schedule="cosine")
    write_run(tmp_path, "phase/A1", 1.5, curve=CURVE, schedule="cosine", order=1)
    found = compare(list_runs(tmp_path))
    assert table(found).texts("variant")[1][-1] == "1.12*"
    assert r"| 1.12\* |" in FORMATS["markdown"]([table(found)])
    assert any("is not constant" in note for note in found.notes)


def test_chances_are_adjusted_by_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


def test_an_id_that_only_looks_like_a_seed_stays_whole(tmp_path: Path) -> None:
    write_run(tmp_path, "phase/lr-s3", 1.5, seed=42)
    write_run(tmp_path, "phase/lr-s4", 1.4, seed=42, order=1)
    assert list(verdicts(compare(list_runs(tmp_path)))) == ["lr-s3", "lr-s4"]


def test_other_metrics_are_compared_across_seeds(tmp_path: Path, cli: Cli) -> None:
    for name, entropies in (("baseline", [5.0, 5.1, 5.05]), ("A1", [5.5, 5.61, 5.54])):
        for number, entropy in enumerate(entropies):
            evaluation = {"attention_entropy": entropy}
            write_run(tmp_path, f"phase/{name}-s{number}", 1.5, seed=42 + number, evaluation=evaluation)
    found = compare(list_runs(tmp_path), baseline="baseline", metric="attention_entropy")
    assert verdicts(found)["A1"] == "higher"
    code, out, _ = cli("phase", "--metric", "val_loss", "--metric", "attention_entropy", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert code == 0
    assert [row["metric"] for row in rows] == ["val_loss"] * 2 + ["attention_entropy"] * 2
    assert cli("phase", "--metric", "val_los")[0] == 2


def test_runs_that_are_not_alike_otherwise_are_said(tmp_path: Path) -> None:
    write_run(tmp_path, "phase/baseline", 1.5)
    folder = write_run(tmp_path, "phase/A1", 1.4, steps=50, order=1)
    write_run(tmp_path, "phase/A2", None, order=2)
    summary = json.loads((folder / "summary.json").read_text())
    (folder / "summary.json").write_text(json.dumps(summary | {"drift": [{"key": "training.lr"}]}))
    found = compare(list_runs(tmp_path))
    assert verdicts(found)["A2"] == "no evaluation"
    notes = "\n".join(found.notes)
    assert "not complete: A1 (step 50 of 100), A2 (step 0 of 100)" in notes
    assert "recipe changed while the run was made, as accepted: A1" in notes
    assert "runs saw 1,600 to 3,200 samples" in notes


@pytest.fixture
def small(tmp_path: Path) -> list[StoredRun]:
    """Two variants of two seeds: everything a format must carry."""
    for name, order, shifts in (("baseline", 0, [0.0, 0.001]), ("A_1", 1, [-0.05, -0.051])):
        for number, shift in enumerate(shifts):
            samples = [Scored(f"x/{n}", (1.5 + shift) * t, t) for n, t in enumerate([10, 20, 30])]
            own = {} if order == 0 else {"depth": "shallow"}
            write_run(
                tmp_path, f"phase/{name}-s{number}", seed=42 + number, samples=samples, order=order, connector=own,
                curve=[(50, 2.0)],
            )  # fmt: skip
    return list_runs(tmp_path)


MARKDOWN = """\
| variant | changes | seeds | best val | sd | difference | these weights | seeds and samples | verdict | multiplier |
| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | --- | ---: |
| baseline |  | 2 | 1.5005 | 0.0007 |  |  |  | baseline |  |
| A_1 | depth = shallow | 2 | 1.4495 | 0.0007 | -0.0510 | -0.0510 to -0.0510 | -0.0540 to -0.0480 | better | \
1.07 (1.07 to 1.07) |

- these weights: 95 % interval of the difference on other samples, paired by sample, within sources; it does not hold \
the noise of training
- seeds and samples: 95 % interval of the difference over other seeds and samples, not paired by seed \
(fewer than 5 in common)
- multiplier: how many times as many FLOPs the baseline needs for the loss that both reached, on the curve of its \
evaluations; nothing is extrapolated
"""

LATEX = r"""
\begin{tabular}{@{}llrrrrrrlr@{}}
\toprule
variant & changes & seeds & best val & sd & difference & these weights & seeds and samples & verdict & multiplier \\
\midrule
baseline &  & 2 & 1.5005 & 0.0007 &  &  &  & baseline &  \\
A\_1 & depth = shallow & 2 & 1.4495 & 0.0007 & $-0.0510$ & $-0.0510$ to $-0.0510$ & $-0.0540$ to $-0.0480$ & better & 1.07 (1.07 to 1.07) \\
\bottomrule
\end{tabular}
\par\noindent{\footnotesize these weights: 95 \% interval"""  # noqa: E501


def test_every_format_says_the_same(small: list[StoredRun]) -> None:
    one = table(compare(small))
    assert FORMATS["markdown"]([one]) == MARKDOWN
    assert FORMATS["latex"]([one]).startswith(LATEX.lstrip())
    (row,) = [row for row in csv.DictReader(io.StringIO(FORMATS["csv"]([one]))) if row["variant"] == "A_1"]
    told = json.loads(FORMATS["json"]([one]))[0]
    assert told["baseline"] == "baseline"
    assert told["notes"] == list(one.notes)
    for key, value in told["rows"][1].items():
        assert row[key] == ("" if value is None else str(value))
    assert row["changes"] == "model.connector.depth = shallow"
    assert f"{float(row['difference']):+.4f}" == "-0.0510"


def test_columns_are_those_that_are_named_in_their_order(small: list[StoredRun], cli: Cli) -> None:
    chosen = ("phase", "--columns", "difference,variant, best_step", "--format")
    assert cli(*chosen, "markdown")[1].splitlines()[:4] == [
        "| difference | variant | best step |",
        "| ---: | --- | ---: |",
        "|  | baseline | 100 |",
        "| -0.0510 | A_1 | 100 |",
    ]
    assert cli(*chosen, "csv")[1].splitlines()[0] == "difference,variant,best_step"
    assert list(json.loads(cli(*chosen, "json")[1])[0]["rows"][1]) == ["difference", "variant", "best_step"]
    assert "\\begin{tabular}{@{}rlr@{}}" in cli(*chosen, "latex")[1]
    code, out, err = cli("phase", "--columns", "variant,diference")
    assert (code, out) == (2, "")
    assert 'no column is called "diference": did you mean "difference"?' in err


def test_changes_are_named_by_as_much_of_their_key_as_tells_them_apart(tmp_path: Path) -> None:
    def model(encoder: int = 32, llm: int = 64, **more: Any) -> dict[str, Any]:
        return {"encoder": {"width": encoder, **more}, "llm": {"width": llm}}

    write_run(tmp_path, "phase/baseline", model=model())
    write_run(tmp_path, "phase/wide", model=model(encoder=64, llm=128), order=1)
    write_run(tmp_path, "phase/wider", model=model(llm=256), order=2)
    write_run(tmp_path, "phase/cut", model=model(words="a, b"), connector={"depth": "shallow"}, order=3)
    one = table(compare(list_runs(tmp_path)))
    at = [column.title for column in one.columns].index("changes")
    assert [cells[at] for cells in one.texts("variant")] == [
        "",
        "encoder.width = 64, llm.width = 128",
        "llm.width = 256",
        "depth = shallow, words = a, b",
    ]
    assert one.rows[2]["changes"] == "model.llm.width = 256"


def test_the_command_prints_and_writes(small: list[StoredRun], cli: Cli, tmp_path: Path) -> None:
    code, out, err = cli("phase")
    assert code == 0, err
    assert "-0.0540 to -0.0480" in out
    out_file = tmp_path / "tables" / "a.tex"
    assert cli("phase", "--out", str(out_file))[:2] == (0, f"{out_file}\n")
    assert out_file.read_text() == FORMATS["latex"]([one_column(table(compare(small)))])
    assert cli("phase/A_1-*", "phase/baseline-s0", "--baseline", "A_1", "--format", "json")[0] == 0
    elsewhere = [str(run.folder) for run in small]
    assert cli(*elsewhere, "--runs", str(tmp_path / "nothing"), "--format", "markdown")[1] == MARKDOWN


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no run or recipe under"),
        (
            ["phase", "--baseline", "baselin"],
            '--baseline: no variant is called "baselin": did you mean "baseline"?',
        ),
        (["phase", "--out", "a.doc"], "expected a name that ends in .md, .tex, .csv, .json"),
        (["phase", "--factors", "A_1"], "expected two variants"),
    ],
)
def test_misuse_is_said(small: list[StoredRun], cli: Cli, arguments: list[str], said: str) -> None:
    code, out, err = cli(*arguments)
    assert (code, out) == (2, "")
    assert said in err


def test_a_recipe_file_stands_for_its_runs(small: list[StoredRun], cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "my.toml"
    file.write_text('name = "phase"\n')
    assert cli(str(file), "--format", "markdown")[1] == MARKDOWN


def test_a_run_alone_is_a_table_of_one(tmp_path: Path) -> None:
    folder = write_run(tmp_path, "phase/only", samples=validation())
    found = compare([open_run(folder)])
    assert verdicts(found) == {"only": "baseline"}
    assert "only" in FORMATS["markdown"]([table(found)])


@pytest.mark.soak
@pytest.mark.parametrize("training", [0.001, 0.01, 0.05])
def test_intervals_hold_the_truth_as_often_as_they_say(training: float) -> None:
    """Three seeds and 300 samples; the table of docs/howto/comparing.md has more campaigns."""
    random = np.random.default_rng(3)
    sources = np.zeros(300, dtype=np.int64)
    hits = 0
    for _ in range(2000):
        own = random.normal(0, 0.15, 300)
        tokens = random.integers(10, 90, 300).astype(float)
        groups: list[Repeats] = []
        for weight, effect in ((-1.0, np.zeros(300)), (1.0, 0.02 + own)):
            each = tokens * (effect + random.normal(0, training, (3, 1)) + random.normal(0, 0.1, (3, 300)))
            parts = np.array([influence(losses, tokens) for losses in each])
            groups.append(Repeats(weight, each.sum(axis=1) / tokens.sum(), parts))
        interval = over_both([paired(groups)], sources)
        assert interval is not None
        hits += interval.low <= 0.02 <= interval.high
    assert 0.92 <= hits / 2000 <= 0.98


def test_a_fact_is_one_line_however_many_variants_it_is_of(tmp_path: Path) -> None:
    """24 variants without losses of samples, of which three were validated on other data."""
    write_run(tmp_path, "phase/baseline")
    for at in range(24):
        write_run(tmp_path, f"phase/A{at}", order=at + 1, **({"fingerprint": "other"} if at < 3 else {}))
    notes = compare(list_runs(tmp_path)).notes
    (kept,) = [note for note in notes if "own losses are not kept" in note]
    assert all(f"A{at}" in kept for at in range(3, 24))
    (other,) = [note for note in notes if "validated on other data" in note]
    assert other == "A0, A1, A2 and baseline were validated on other data: their fingerprints differ"
    assert len(notes) <= 6


def test_what_holds_for_every_metric_is_said_once(tmp_path: Path) -> None:
    for name in ("baseline", "A1"):
        write_run(tmp_path, f"phase/{name}", evaluation={"attention_entropy": 5.0})
    runs = list_runs(tmp_path)
    tables = [table(compare(runs, metric=metric)) for metric in ("val_loss", "attention_entropy")]
    out = as_text(lambda console: show_tables(console, tables))
    assert out.count("`seeds = 3` in the recipe repeats its runs") == 1
    assert out.count("the samples' own attention_entropy is not kept of A1, baseline") == 1
