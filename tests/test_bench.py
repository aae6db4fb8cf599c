"""Benchmarks in pairs: what is compared is the same work, and the figures are said with what they were made on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny import RECIPE, run_cli
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from fvlm_core.bench.pairs import in_pairs
from fvlm_core.bench.train import Step, bare, made, ours
from fvlm_core.recipes.read import read_recipe

KNOWN = ["model.llm.tokenizer=none", "model.llm.vocabulary=512", "model.llm.width=64", "model.llm.mlp=192"]


def test_each_round_times_both_and_the_ratio_is_the_median_of_the_rounds() -> None:
    asked: list[str] = []
    times = {"ours": iter([2.0, 3.0, 8.0]), "bare": iter([2.0, 2.0, 2.0])}

    def clock(name: str) -> float:
        asked.append(name)
        return next(times[name])

    pair = in_pairs("x", "s", lambda: clock("ours"), lambda: clock("bare"), 1.6, rounds=3)
    assert asked == ["ours", "bare", "bare", "ours", "ours", "bare"]
    assert (pair.ours, pair.bare, pair.ratio, pair.low, pair.high) == (3.0, 2.0, 1.5, 1.0, 4.0)
    assert pair.holds


@pytest.mark.parametrize("change", ["model.connector.mode=coarse_fine", "model.connector.mode=coarse_only"])
def test_the_bare_cost_of_a_training_step_is_of_the_same_matrices(tmp_path: Path, change: str) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    config = read_recipe(str(tmp_path / "tiny.toml"), [*KNOWN, change]).runs[0].config
    model, batch = made(config)

    def flops(step: Step) -> int:
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counted:
            step()
        return counted.get_total_flops()

    whole, matrices = flops(ours(model, batch)), flops(bare(config, model, batch))
    # what the bare step leaves out is the connector: the query's way through this one narrow layer, and its maps
    assert 0.85 * whole < matrices < whole


def test_how_soon_fvlm_answers_is_told_with_the_machine(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run_cli(["bench", "start", "--rounds", "1", "--json"], monkeypatch, capsys)
    found = json.loads(out)
    assert code == 0
    assert [one["limit"] for one in found["measured"]] == [6.0, 8.0, 20.0]
    assert all(one["ours"] > one["bare"] > 0 for one in found["measured"])
    assert found["machine"]["cores"] >= 1


def test_a_model_whose_vocabulary_waits_for_its_data_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    code, _, err = run_cli(["bench", "train", str(tmp_path / "tiny.toml")], monkeypatch, capsys)
    assert code == 2
    assert "its tokenizer is made from the data" in err
