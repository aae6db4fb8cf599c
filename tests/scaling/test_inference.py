"""The best use of a budget of inference: against Lagrange's closed form, and what a model of a recipe is made of."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fvlm_fits.config import VisualTokens
from tiny import run_cli

import fvlm
from fvlm_core.interfaces.fit import FitModel, Parameter, Serving, Variable
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.fit.options import Options
from fvlm_core.scaling.fit.report import FitReport
from fvlm_core.scaling.points.points import tidy
from fvlm_core.scaling.predict.inference import Budget, InferenceAnswer, choose
from fvlm_core.scaling.predict.serving_cost import cost_by_rule

E, A, a, F, f, K, k = 0.5, 60.0, 0.25, 0.3, 0.7, 0.4, 0.6


@pytest.fixture(scope="module", autouse=True)
def few_starts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fvlm_core.scaling.fit.solver.STARTS", 64)
        patch.setattr("fvlm_core.scaling.fit.solver.FINALISTS", 4)
        yield


def law(n: Any, T: Any, V: Any, *, E: Any, A: Any, a: Any, F: Any, f: Any, K: Any, k: Any) -> Any:
    """L = E + A/N^a + F/T^f + K/V^k"""
    return E + A / n**a + F / T**f + K / V**k


def model(*, rising: bool = False) -> FitModel:
    """A law of a user's own: what a request costs by is all it has to declare."""

    def turned(n: Any, T: Any, V: Any, **p: Any) -> Any:
        return 5 - law(n, T, V, **p)

    turned.__signature__ = law_signature()  # type: ignore[attr-defined]
    scales = [Parameter(name, 1.0, 0.0, log=True, linear=not rising) for name in "AFK"]
    powers = [Parameter(name, 0.5, 0.01, 3.0) for name in "afk"]
    target = (Variable("loss", "", "score", rising=True),) if rising else ()
    return FitModel(
        "mine",
        turned if rising else law,
        (Parameter("E", 1.0, 0.0, linear=not rising), *scales, *powers),
        variables=("T", Variable("V", "tokens"), *target),
        serving=Serving("V", frames="T"),
    )


def law_signature() -> Any:
    import inspect

    return inspect.signature(law)


def points(noise: float = 0.001) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n, T, V = np.array([*product((3e8, 1e9, 3e9, 1e10), (2, 8, 32, 64), (8, 32, 128, 512))], float).T
    loss = law(n, T, V, E=E, A=A, a=a, F=F, f=f, K=K, k=k) * np.exp(noise * rng.standard_normal(len(n)))
    return pd.DataFrame({"n": n, "T": T, "V": V, "loss": loss})


def fitted(table: pd.DataFrame, rising: bool = False, draws: int = 200) -> FitReport:
    return fit_points(
        tidy(table, "made"), model(rising=rising), draws=draws, options=Options(sensitivity=False)
    )


@pytest.fixture(scope="module")
def report(few_starts: None) -> FitReport:
    return fitted(points())


SIZES = [("300M", 3e8), ("1B", 1e9), ("3B", 3e9), ("10B", 1e10)]


def best(report: FitReport, flops: float, **at: float) -> InferenceAnswer:
    rule = cost_by_rule(SIZES, 0.0, 0.0, Serving("V", frames="T"))
    return choose(report, Budget(flops), rule, at=at)


def lagrange(flops: float) -> tuple[float, float, float]:
    """Where 2 N T V is the budget, a A/N^a = f F/T^f = k K/V^k at the best: with m for all three, N = (a A/m)^(1/a)
    and so on, and the product of these gives m."""
    roots = 1 / a + 1 / f + 1 / k
    scales = (a * A) ** (1 / a) * (f * F) ** (1 / f) * (k * K) ** (1 / k)
    m = (2 * scales / flops) ** (1 / roots)
    return (a * A / m) ** (1 / a), (f * F / m) ** (1 / f), (k * K / m) ** (1 / k)


@pytest.mark.parametrize("flops", [5e11, 2e12])
def test_size_frames_and_tokens_are_those_of_the_closed_form(report: FitReport, flops: float) -> None:
    answer, true = best(report, flops), lagrange(flops)
    assert answer.best is not None
    found = (answer.best.n, answer.best.frames, answer.best.tokens)
    assert found == pytest.approx(true, rel=0.12)  # frames and tokens are whole
    for ends, truth in zip(answer.intervals.values(), true, strict=True):
        assert ends is not None
        assert ends[0] - 1 <= truth <= ends[1] + 1 or ends[0] * 0.9 <= truth <= ends[1] * 1.1
    assert answer.best.flops == pytest.approx(flops)
    # No worse than the closed form's own loss, by more than whole numbers and the fit's error cost.
    least = law(*true, E=E, A=A, a=a, F=F, f=f, K=K, k=k)
    assert answer.best.loss == pytest.approx(least, rel=2e-3)


def test_frames_that_are_held_leave_the_best_of_the_other_two(report: FitReport) -> None:
    flops, frames = 1e12, 8
    answer = best(report, flops, T=frames)
    true = (k * K / (a * A * (2 * frames / flops) ** a)) ** (1 / (a + k))
    assert answer.best is not None
    assert answer.best.frames == frames
    assert answer.best.tokens == pytest.approx(true, rel=0.1)


def test_near_equal_choices_are_models_that_exist_within_the_budget(report: FitReport) -> None:
    answer = best(report, 4e12)
    assert answer.best is not None
    losses = [one.loss for one in answer.near]
    assert losses == sorted(losses)
    assert {one.label for one in answer.near} == {label for label, _ in SIZES}
    for one in answer.near:
        assert one.flops <= 4e12
        assert one.worse >= -1e-12
        assert one.worse == pytest.approx(one.loss / answer.best.loss - 1, abs=1e-9)
        # The most tokens that the budget pays for: one more would not fit, or is beyond the points.
        assert 2 * one.n * one.frames * (one.tokens + 1) > 4e12 or one.tokens == 512
    assert sum(one.best or 0 for one in answer.near) == pytest.approx(1)


def test_a_score_that_rises_is_made_as_high_as_possible(report: FitReport) -> None:
    table = points()
    turned = fitted(table.assign(loss=5 - table["loss"]), rising=True, draws=20)
    up, down = best(turned, 4e12), best(report, 4e12)
    assert up.best is not None
    assert down.best is not None
    assert up.best.n == pytest.approx(down.best.n, rel=0.15)
    assert up.best.loss == pytest.approx(5 - down.best.loss, rel=0.01)


def test_of_exponents_the_larger_takes_the_budget() -> None:
    """Li et al. (2025): with 2 N (Q + V) FLOPs the loss is A (2/B)^a (Q + V)^(a - b) + E, so that a > b means the
    fewest visual tokens, and a < b the most."""
    for size_exponent, fewest in ((0.2, True), (0.03, False)):
        n, V = np.array([*product((5e8, 1.8e9, 4e9, 1.4e10), (1, 16, 64, 256))], float).T
        loss = 3.0 / (n / 1e9) ** size_exponent / (64 + V) ** 0.08 + 0.4
        loss = loss * np.exp(1e-4 * np.random.default_rng(0).standard_normal(16))
        table = pd.DataFrame({"n": n, "V": V, "loss": loss})
        law_of = load_model("visual-tokens", VisualTokens(text_tokens=64))
        report = fit_points(tidy(table, "made"), law_of, draws=50, options=Options(sensitivity=False))
        serving = law_of.serving
        assert serving is not None
        assert serving.text == 64
        sizes = [("small", 5e8), ("large", 1.4e10)]
        answer = choose(report, Budget(2 * 2e9 * (64 + 64)), cost_by_rule(sizes, 64, 0.0, serving))
        assert answer.best is not None
        assert answer.best.tokens == (1 if fewest else 256)
        assert answer.best.n == pytest.approx(2e9 * 128 / (65 if fewest else 320))


RECIPE = """
name = "served"

[model.encoder]
name = "dinov2"
weights = "seeded"
image_size = 42
width = 48
depth = 2
heads = 4

[model.connector]
name = "pooled"
grid = 2

[model.llm]
name = "smollm2"
weights = "seeded"
tokenizer = "from-data"
width = 48
mlp = 144
depth = 2
heads = 4
kv_heads = 2

[[data.sources]]
name = "shapes"
level = "easy"
clips = 64
validation_clips = 16

[training]
samples = 640
batch_size = 16
micro_batch_size = 16
lr = 1e-3

[[runs]]
id = "48"

[[runs]]
id = "96"
model.llm.width = 96
model.llm.mlp = 288
"""


def test_models_of_recipes_cost_what_they_are_made_of(tmp_path: Path) -> None:
    """One more visual token is one more position of the language model in each frame: by hand, from its sizes."""
    (tmp_path / "served.toml").write_text(RECIPE)
    rng = np.random.default_rng(1)
    n, T, V = np.array([*product((3e4, 9e4, 3e5), (2, 8, 32), (1, 4, 9))], float).T
    loss = law(n, T, V, E=E, A=2.0, a=a, F=F, f=f, K=K, k=k) * np.exp(0.0005 * rng.standard_normal(len(n)))
    result = fvlm.fit(pd.DataFrame({"n": n, "T": T, "V": V, "loss": loss}), model(), draws=20)
    answer = result.inference(4e7, text_tokens=16, recipes=str(tmp_path / "served.toml")).answer
    (one, other) = answer.cost.models
    text, frames = 16, 4
    for served, width, mlp in ((one, 48, 144), (other, 96, 288)):
        heads, kv, depth = 4, 2, 2
        weights = 2 * width * (width + width * kv // heads) + 3 * width * mlp
        before, after = (frames * tokens + text for tokens in (9, 10))
        more = 2 * (after - before) * weights * depth + 4 * (after**2 - before**2) * width * depth
        assert served.flops(frames, 10) - served.flops(frames, 9) == pytest.approx(more, rel=1e-12)
        assert served.tokens is None  # the connector only averages patches
    # A frame more is what the encoder and the connector take for it besides.
    for served in (one, other):
        alone = served.flops(5, 4) - served.flops(4, 5)  # as many visual tokens
        assert alone > 2 * 9 * (12 * 48**2) * 2 * 0.8  # 9 patches through two layers of a ViT, 48 wide
    assert answer.best is not None
    assert answer.best.label in {served.label for served in (one, other)}
    assert answer.best.flops <= 4e7


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    monkeypatch.chdir(tmp_path)
    table = points().rename(columns={"n": "N", "T": "frames", "V": "tokens_per_frame"})
    rows = pd.concat([table.assign(D=d, loss=table["loss"] + 20 / d**0.3) for d in (1e4, 1e5, 1e6)])
    rows.to_csv("video.csv", index=False)
    ask = ["predict", "--data", "video.csv", "--model", "video", "--d", "1M", "--draws", "20"]
    return lambda *more: run_cli([*ask, *more], monkeypatch, capsys)


def test_the_command_answers_in_flops_and_in_milliseconds_alike(cli: Any) -> None:
    given = ("--text-tokens", "10", "--encoder-flops", "1e9")
    code, told, _ = cli("--inference", "2s", "--rate", "2e12", *given, "--json")
    assert code == 0
    timed = json.loads(told)
    assert timed["budget"] == {"flops": 4e12, "milliseconds": 2000.0}
    assert list(timed["best"]) == ["size", "N", "T", "V", "flops", "loss"]
    code, told, _ = cli("--inference", "4e12", *given)
    assert code == 0
    assert "budget 4e+12 FLOPs a request, best use:" in told
    assert f"T* = {timed['best']['T']['value']}" in told
    assert "worse by" in told


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--inference", "50ms"), "--rate"),
        (("--inference", "soon"), "expected FLOPs of one request (5e12), 50ms or 2s"),
        (("--inference", "1e3"), "pays for no request: the cheapest"),
        (("--inference", "1e12", "--n", "1B"), "--n is no part of a question of inference"),
        (("--rate", "1e12", "--n", "1B", "--at", "T=8,V=8"), "--rate goes with --inference"),
        (("--inference", "1e12", "--model", "joint-chinchilla"), "which of its columns a request costs by"),
    ],
)
def test_what_cannot_be_answered_is_one_message_and_exit_code_2(
    cli: Any, more: tuple[str, ...], said: str
) -> None:
    code, _, err = cli(*more)
    assert code == 2
    assert said in err
    assert "Traceback" not in err
