"""The recipes that come with fvlm: all can be read, do what their names say, and cost what the founding ones did."""

from __future__ import annotations

import json
import re
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from tiny import run_cli

from fvlm_core.hardware.throughput import Speed
from fvlm_core.planning.plan import (
    RunPlan,
    _Planner,  # pyright: ignore[reportPrivateUsage]
    plan,
)
from fvlm_core.recipes import files
from fvlm_core.recipes.files import shipped, shipped_recipes
from fvlm_core.recipes.read import Recipe, read_recipe
from fvlm_core.recipes.resolved import flat, resolved

KNOWN: list[Any] = []
FIXED = Speed("cpu", "bf16", 2, 1e11, 0.65)
WAYS = [
    *(f"foveated-{n}" for n in (1, 4, 16)),
    *(f"pooled-{n}" for n in (1, 4, 16, 49, 196)),
    *(f"perceiver-{n}" for n in (1, 4, 16, 64)),
    *(f"{name}-{n}" for name in ("merge", "random", "select") for n in (1, 16, 64)),
    *("convolutional-16", "convolutional-64", "last-4"),
]
SMALL_WAYS = [
    *("foveated-1", "foveated-3", "pooled-1", "pooled-4", "pooled-9", "perceiver-1", "perceiver-3"),
    *("merge-3", "select-3", "random-1", "random-3", "convolutional-1", "last-2", "blind"),
]
RUNS = {
    "augment_small": ["baseline", "crop", "flip", "colour", "drop", "all-but-flip"],
    "gaze_study": [
        f"{variant}-s{seed}"
        for variant in ("baseline", "A1", "A4", "A6", "A7", "all-patches")
        for seed in range(3)
    ],
    "grid_c1_c4": [
        f"{size}-{budget}-{tokens}"
        for size in ("135M", "360M", "1.7B")
        for budget in ("C1", "C2", "C3", "C4")
        for tokens in ("F", "B")
    ],
    "lora_small": ["whole", "frozen", "rank-2", "rank-8", "rank-8-all"],
    "lr_sweep_1.7b": [f"1.7B-lr-{rate}" for rate in ("1e-4", "2e-4", "3e-4", "5e-4")],
    "lr_sweep_360m": [f"360M-lr-{rate}" for rate in ("3e-4", "5e-4", "7e-4")],
    "metrics_small": ["baseline", "blind", "coarse-only"],
    "mup_widths": [f"{width}-{rate}" for width in (32, 64, 128) for rate in ("1e-3", "2e-3", "4e-3")],
    "phase1a": ["baseline", "A1", "A2", "A3", "A4", "A5", "A6", "A7", "B1", "B2"],
    "phase1a_a8": ["A8-x1", "A8-x4", "A8-x8", "A8-x16"],
    "phase1a_d1": ["D1"],
    "phase1a_f1": ["F1"],
    "phase1a_f2": ["F2"],
    "phase1a_long": ["long-fine", "long-coarse"],
    "phase1a_lr": ["LR1", "LR2", "LR3", "LR4"],
    "phase1a_text": ["T1", "T2", "T3"],
    "phase1b_1.7b": ["1.7B-scaling"],
    "phase1b_135m": ["135M-scaling"],
    "phase1b_360m": ["360M-scaling"],
    "quickstart": [
        *("64-65536", "24-5120-blind", "24-5120-coarse-only"),
        *(f"{width}-{samples}" for samples in (65536, 20480, 10240, 5120) for width in (48, 24, 16, 8)),
    ],
    "laptop_law": ["8", "12", "16", "24", "32", "64"],
    "captions_small": ["32", "48", "96", "48-blind", "48-coarse-only"],
    "needles_small": ["foveated", "pooled", "last-4", "blind"],
    "questions_small": ["baseline", "pooled", "blind"],
    "question_first": ["baseline", "question-first", "pooled", "pooled-question-first"],
    "optimizers_small": ["adamw", "muon", "sgd"],
    "schedules_small": ["wsd", "cosine", "constant"],
    "objectives_small": ["teacher", "labels", "distilled"],
    "callbacks_small": ["averages", "early-stopping"],
    "stage2_sft": ["135M-sft"],
    "token_budget": [f"{way}-{frames}" for way in WAYS for frames in ("8f", "32f")],
    "token_budget_small": [
        f"{way}-{frames}-s{seed}" for way in SMALL_WAYS for frames in ("4f", "8f") for seed in range(3)
    ],
    "token_budget_widths": [
        f"{width}-{tokens}-{frames}f-s{seed}"
        for width in (32, 48, 96)
        for tokens in (1, 4, 9)
        for frames in (2, 4, 8)
        for seed in range(2)
    ],
    "stage3_dpo": ["135M-dpo"],
}
OWN_DATA = (
    "quickstart",
    "laptop_law",
    "captions_small",
    "gaze_study",
    "metrics_small",
    "lora_small",
    "mup_widths",
    "augment_small",
    "question_first",
    "questions_small",
    "needles_small",
    "token_budget_small",
    "token_budget_widths",
)
"""Recipes that make their own data, in minutes."""

POOLED = {"name": "pooled:pooled", "visual_scale": 0.14}
CHANGES: dict[str, dict[str, Any]] = {
    "A1": {"model.connector.depth": "shallow"},
    "A2": {"model.connector.query_dim": 192},
    "A3": {"model.connector.query_bias": True},
    "A4": {"model.connector.query_init_std": 0.02},
    "A5": {"training.frozen[0]": "encoder", "training.frozen": None},
    "A6": {"model.connector.mode": "coarse_only"},
    "A7": {"model.connector.depth": "shallow", "model.connector.mode": "coarse_only"},
    "B1": {"model.connector": {**POOLED, "grid": 4}},
    "B2": {"model.connector": {**POOLED, "grid": 7}, "training.micro_batch_size": 1},
}


@cache
def read(name: str) -> Recipe:
    return read_recipe(name)


@cache
def planned(name: str) -> dict[str, RunPlan]:
    """The plan of a recipe, without the second that looking at this machine's speed takes. Recipes share what is the
    same in several, as the runs of one do: models above all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fvlm_core.planning.plan.measure_speed", lambda *_: FIXED)
        patch.setattr("fvlm_core.planning.plan._Planner", partial(_Planner, known=KNOWN))
        return {run.id: run for run in plan(read(name))}


def changed(name: str, base: str, other: str) -> dict[str, Any]:
    """Keys in which two runs differ, with the second one's values; None where it has none."""
    runs = {run.id: flat(resolved(run.config)) for run in read(name).runs}
    before, after = runs[base], runs[other]
    return {key: after.get(key) for key in {**before, **after} if before.get(key) != after.get(key)}


def test_every_recipe_is_there_with_its_runs() -> None:
    assert {file.stem: [run.id for run in read(file.stem).runs] for file in shipped_recipes()} == RUNS


@pytest.mark.parametrize("name", RUNS)
def test_every_recipe_says_what_it_is_and_needs(name: str) -> None:
    text = (shipped() / f"{name}.toml").read_text()
    assert read(name).name == name
    assert read(name).runs[0].config.description
    if name not in OWN_DATA:
        comment = "".join(line for line in text.splitlines() if line.startswith("#"))
        assert "Needs: " in comment
        assert re.search(r"\d+ h\b|\d h ", comment), "hours"
    assert len(text.splitlines()) < 100


@pytest.mark.parametrize("run", CHANGES)
def test_each_ablation_changes_one_thing(run: str) -> None:
    expected = dict(CHANGES[run])
    connector = expected.pop("model.connector", None)
    found = changed("phase1a", "baseline", run)
    if connector is not None:
        config = next(other for other in read("phase1a").runs if other.id == run).config
        assert resolved(config)["model"]["connector"] == connector
        found = {key: value for key, value in found.items() if not key.startswith("model.connector.")}
    assert {key: value for key, value in found.items() if value is not None} == {
        key: value for key, value in expected.items() if value is not None
    }


@pytest.mark.parametrize(
    ("name", "run", "keys"),
    [
        ("phase1a_f1", "F1", {"training.frozen"}),
        ("phase1a_f2", "F2", {"training.frozen"}),
        ("phase1a_d1", "D1", {"data.sources"}),
        ("phase1a_lr", "LR1", set[str]()),
        ("phase1a_lr", "LR2", {"training.lr", "training.lr_ratio"}),
        ("phase1a_lr", "LR3", {"training.lr", "training.lr_ratio"}),
        ("phase1a_lr", "LR4", {"training.lr", "training.lr_ratio"}),
        ("phase1a_text", "T1", {"data.text.share"}),
        ("phase1a_text", "T2", {"data.text.share"}),
        ("phase1a_text", "T3", {"data.text.share"}),
        ("phase1a_long", "long-fine", {"data.sources", "training.micro_batch_size"}),
        (
            "phase1a_long",
            "long-coarse",
            {"data.sources", "training.micro_batch_size", "model.connector.mode"},
        ),
    ],
)
def test_the_other_runs_of_phase_1a_differ_from_its_baseline_in_what_they_say(
    name: str, run: str, keys: set[str]
) -> None:
    base = flat(resolved(read("phase1a").runs[0].config))
    other = flat(resolved(next(each for each in read(name).runs if each.id == run).config))
    differ = {key for key in {**base, **other} if base.get(key) != other.get(key)}
    left = {
        key for key in differ if key not in ("name", "description") and not key.startswith(tuple(keys) or "-")
    }
    assert not left
    assert all(any(key.startswith(wanted) for key in differ) for wanted in keys)


def test_only_the_connectors_rate_changes_in_the_rates_of_phase_1a() -> None:
    for run, rate in (("LR1", 1e-4), ("LR2", 1e-3), ("LR3", 3e-5), ("LR4", 1e-5)):
        rates = planned("phase1a_lr")[run].rates
        assert rates == pytest.approx({"connector": rate, "encoder": 1e-5, "llm": 1e-5})


def test_a_share_of_0_leaves_the_text_out() -> None:
    none, some = read("phase1a_text").runs[:2]
    assert [(source.name, share) for source, share in none.config.data.mixed] == [("openvid", 1.0)]
    assert [(source.name, round(share, 2)) for source, share in some.config.data.mixed] == [
        ("openvid", 0.93),
        ("smoltalk", 0.07),
    ]


def test_repeats_of_a_still_image() -> None:
    assert [run.config.data.image_repeats for run in read("phase1a_a8").runs] == [1, 4, 8, 16]
    assert changed("phase1a_a8", "A8-x1", "A8-x8") == {"data.image_repeats": 8}


def test_parameters_are_exact() -> None:
    totals = {"135M": 157_310_976, "360M": 384_912_384, "1.7B": 1_735_304_320}
    for name in (
        "phase1b_135m",
        "phase1b_360m",
        "phase1b_1.7b",
        "grid_c1_c4",
        "lr_sweep_360m",
        "lr_sweep_1.7b",
    ):
        for run, its in planned(name).items():
            if not run.endswith("-B"):
                assert its.parameters.total == its.parameters.trainable == totals[run.partition("-")[0]], run
    runs = planned("phase1a")
    new = {run: its.parameters.components["connector"] for run, its in runs.items()}
    assert new["baseline"] == new["A1"] == new["A4"] == new["A5"] == new["A6"] == new["A7"] == 739_392
    # 192 x 384 less to map, 192 x 576 less and 192 less to ask, and 2 x 192 less of the learned queries.
    assert new["baseline"] - new["A2"] == 192 * 384 + 192 * 576 + 192 + 2 * 192
    assert new["A3"] - new["baseline"] == 384
    assert new["B1"] == new["B2"] == 221_760  # the projection into the LLM's width
    assert runs["A5"].parameters.trainable == 135_254_400
    assert planned("phase1a_f1")["F1"].parameters.trainable == 739_392
    assert planned("stage3_dpo")["135M-dpo"].parameters.trainable == totals["135M"]


TABLE = {  # founding_system.md: samples at each budget, foveated / multi-token
    "C1": ("64,688 / 65,523", "36,228 / 37,244", "14,002 / 14,639"),
    "C2": ("226,408 / 229,332", "126,798 / 130,356", "49,007 / 51,238"),
    "C3": ("646,882 / 655,234", "362,281 / 372,447", "140,022 / 146,396"),
    "C4": ("2,264,088 / 2,293,321", "1,267,985 / 1,303,567", "490,078 / 512,388"),
}


@pytest.mark.parametrize("budget", TABLE)
def test_samples_of_the_grid_are_the_founding_tables(budget: str) -> None:
    text = (shipped() / "grid_c1_c4.toml").read_text()
    for size, cell in zip(("135M", "360M", "1.7B"), TABLE[budget], strict=True):
        for tokens, number in zip(("F", "B"), cell.split(" / "), strict=True):
            run = planned("grid_c1_c4")[f"{size}-{budget}-{tokens}"]
            samples = int(number.replace(",", ""))
            config = next(other for other in read("grid_c1_c4").runs if other.id == run.id).config
            assert int((config.training.budget or 0) / run.nominal_flops_per_sample) == samples
            assert run.steps == samples // 32
            assert number in text, "the recipe's own table"
    assert f"{planned('grid_c1_c4')[f'135M-{budget}-F'].steps:,}" in text


def test_the_table_is_the_founding_systems(shared: Path) -> None:
    facts = (shared / "founding_system.md").read_text()
    for cells in TABLE.values():
        assert f"| {' | '.join(cells)} |" in facts


@pytest.mark.parametrize(
    ("name", "run", "steps", "rates", "training"),
    [
        ("phase1a", "baseline", 9_375, (1e-4, 1e-5, 1e-5), {"schedule": "cosine"}),
        ("phase1b_135m", "135M-scaling", 20_527, (1e-3, 1e-5, 1e-5), {"schedule": "constant"}),
        ("phase1b_360m", "360M-scaling", 21_937, (6.393e-4, 6.393e-6, 6.393e-6), {"schedule": "constant"}),
        ("phase1b_1.7b", "1.7B-scaling", 21_937, (3.011e-4, 3.011e-6, 3.011e-6), {"micro_batch_size": 2}),
        ("grid_c1_c4", "360M-C1-F", 1_132, (6.393e-4, 6.393e-6, 6.393e-6), {"budget_accounting": "nominal"}),
        ("lr_sweep_360m", "360M-lr-5e-4", 3_125, (5e-4, 5e-6, 5e-6), {"schedule": "cosine"}),
        ("lr_sweep_1.7b", "1.7B-lr-2e-4", 3_125, (2e-4, 2e-6, 2e-6), {"schedule": "cosine"}),
        (
            "stage2_sft",
            "135M-sft",
            31_250,
            (3e-5, 3e-5, 3e-5),
            {"supervise": "answer", "warmup": 0.03, "micro_batch_size": 8, "preference": None},
        ),
        (
            "stage3_dpo",
            "135M-dpo",
            2_593,
            (1e-6, 1e-6, 1e-6),
            {"supervise": "answer", "warmup": 0.1, "micro_batch_size": 4, "init_from": "stage2_sft/135M-sft"},
        ),
    ],
)
def test_lengths_and_rates_are_the_founding_ones(
    name: str, run: str, steps: int, rates: tuple[float, float, float], training: dict[str, Any]
) -> None:
    its = planned(name)[run]
    assert (its.steps, its.batch_size) == (steps, 32)
    assert tuple(its.rates.values()) == pytest.approx(rates, rel=1e-3)
    config = next(other for other in read(name).runs if other.id == run).config
    assert {key: getattr(config.training, key) for key in training} == training
    assert config.training.seed == 42


def test_stages_2_and_3_see_images_and_texts_as_the_founding_ones() -> None:
    for name in ("stage2_sft", "stage3_dpo"):
        (run,) = read(name).runs
        assert (run.config.data.image_repeats, run.config.data.max_text_tokens) == (8, 1024)
        assert not run.config.in_fits
    assert read("stage2_sft").runs[0].config.data.mixed[-1][1] == 0.14
    preference = read("stage3_dpo").runs[0].config.training.preference
    assert preference is not None
    assert preference.beta == 0.1
    stages = [
        name for name in planned("stage3_dpo")["135M-dpo"].ledger if name.stage.startswith("reference ")
    ]
    assert stages, "the reference's forward passes are planned"


def test_a_recipe_is_planned_in_seconds() -> None:
    begun = time.process_time()
    plan(read_recipe("grid_c1_c4"))
    assert time.process_time() - begun < 10


def test_recipes_are_listed_and_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said, _ = run_cli(["recipes", "list"], monkeypatch, capsys)
    assert code == 0
    for name, runs in RUNS.items():
        assert re.search(rf"^{re.escape(name)} +{len(runs)} +\S", said, flags=re.M), name
    assert "_phase1b" not in said
    code, said, _ = run_cli(["recipes", "list", "--json"], monkeypatch, capsys)
    found = {entry["name"]: entry for entry in json.loads(said)}
    assert {name: entry["runs"] for name, entry in found.items()} == RUNS
    assert "5.6e17" in found["grid_c1_c4"]["about"]
    assert all(Path(entry["file"]).is_file() and entry["problem"] is None for entry in found.values())

    code, said, _ = run_cli(["recipes", "show", "phase1b_360m"], monkeypatch, capsys)
    assert (code, said) == (0, (shipped() / "phase1b_360m.toml").read_text())
    code, said, _ = run_cli(["recipes", "show", "phase1b_360m", "--resolved"], monkeypatch, capsys)
    assert code == 0
    assert 'name = "smollm2:smollm2-360m"' in said
    assert "micro_batch_size = 8" in said, "of its base's base"
    code, _, error = run_cli(["recipes", "show", "phase1b_360n"], monkeypatch, capsys)
    assert code == 2
    assert 'did you mean "phase1b_360m"?' in error


def test_a_recipe_that_cannot_be_read_here_is_listed_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from fvlm_registry import registry

    monkeypatch.setenv("FVLM_PLUGINS", "shapes")
    shipped = [file for file in files.shipped_recipes() if file.stem == "stage3_dpo"]
    monkeypatch.setattr(files, "shipped_recipes", lambda: shipped)
    registry.cache_clear()
    try:
        code, said, _ = run_cli(["recipes", "list"], monkeypatch, capsys)
    finally:
        monkeypatch.delenv("FVLM_PLUGINS")
        registry.cache_clear()
    assert code == 0
    assert re.search(r"^stage3_dpo +cannot be read here: .*dinov2-small", said, flags=re.M)


def test_the_documentation_names_every_recipe(root: Path) -> None:
    text = (root / "docs" / "howto" / "recipes.md").read_text()
    for name in RUNS:
        assert f"| `{name}` |" in text, name
