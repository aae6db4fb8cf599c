"""The plan of a recipe: exact where it can be, stated assumptions where it cannot, and a printed recipe that is one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import evolve
from rich.console import Console
from tiny import CONNECTOR, ENCODER, LLM, RECIPE, TRAINING, run_cli
from videos import write_video

from fvlm_core.api.views.plan import about, plan_json, show_plan
from fvlm_core.api.views.recipe import resolved_text
from fvlm_core.data.lengths import decoding_seconds, first_samples
from fvlm_core.data.sources import open_sources
from fvlm_core.hardware.throughput import Speed
from fvlm_core.interfaces.data import VideoFile
from fvlm_core.media.video import BadSample, count_frames, decode
from fvlm_core.model.build import make_chat
from fvlm_core.planning.compute import flops_per_sample
from fvlm_core.planning.plan import ASSUMED_VOCABULARY, plan
from fvlm_core.planning.run_plan import RunPlan
from fvlm_core.recipes.read import Recipe, read_recipe
from fvlm_core.recipes.resolved import resolved


@pytest.fixture(scope="module", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No clips and no weights of this machine; those of this file's tests are drawn once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


def recipe(folder: Path, text: str = RECIPE, *overrides: str) -> Recipe:
    file = folder / "recipe.toml"
    file.write_text(text)
    return read_recipe(str(file), overrides)


def only(folder: Path, text: str = RECIPE, *overrides: str) -> RunPlan:
    (planned,) = plan(recipe(folder, text, *overrides))
    return planned


def test_published_recipe_is_planned_without_its_data_and_weights(root: Path) -> None:
    (planned,) = plan(read_recipe(str(root / "recipes" / "phase1b_360m.toml")))
    assert planned.parameters.total == planned.parameters.trainable == 384_912_384
    assert planned.vocabulary == 49_152
    assert (planned.steps, planned.samples) == (21_937, 21_937 * 32)
    assert planned.rates["connector"] == pytest.approx(1e-3 * (157_310_976 / 384_912_384) ** 0.5)
    assert planned.rates["llm"] == pytest.approx(planned.rates["connector"] / 100)
    assert (planned.frames, planned.text_tokens) == (8, 128)
    assert "assumed" in planned.lengths_from
    assert planned.epochs == ()
    said = "\n".join(planned.notes)
    for fetched in ("facebook/dinov2-small", "HuggingFaceTB/SmolLM2-360M-Instruct"):
        assert f"hf download {fetched}" in said
    for fetched in ("openvid", "vript", "sharegpt4video", "smoltalk"):
        assert f"fvlm data fetch {fetched} --to " in said
    assert sum(planned.flops_per_sample.values()) * planned.samples == pytest.approx(planned.flops)


def test_largest_size_is_planned_in_seconds(root: Path) -> None:
    begun = time.process_time()
    largest = read_recipe(str(root / "recipes" / "phase1b_360m.toml"), ["model.llm.name=smollm2-1.7b"])
    (planned,) = plan(largest)
    assert planned.parameters.total == 1_735_304_320
    assert time.process_time() - begun < 20


def test_lengths_are_those_of_the_data(tmp_path: Path) -> None:
    read = recipe(tmp_path)
    (run,) = read.runs
    (planned,) = plan(read)
    sources = open_sources(run.config.data)
    chat = make_chat(run.config.model, sources.texts)
    texts = [len(chat.encode(sources.train[0][index].turns).ids) for index in range(32)]
    assert planned.frames == run.config.data.sources[0].source.config.frames
    assert planned.text_tokens == pytest.approx(
        sum(texts) / len(texts)
    )  # 256 places are 8 epochs of 32 clips
    assert 0 < planned.supervised_tokens < planned.text_tokens
    assert planned.vocabulary == chat.vocabulary
    assert planned.epochs == (("shapes", 6 * 4 / 32),)
    assert "first 256" in planned.lengths_from


def test_a_tokenizer_of_the_data_is_made_once_for_all_that_ask_for_it(tmp_path: Path) -> None:
    first, other = (
        recipe(tmp_path, RECIPE, *of).runs[0].config for of in ((), ('model.llm.system="Be brief."',))
    )
    sources = open_sources(first.data)
    made = sources.chat(first.model.llm)
    assert made.vocabulary == make_chat(first.model, sources.texts).vocabulary
    assert sources.chat(first.model.llm) is made
    assert sources.chat(other.model.llm) is not made


def test_models_of_several_sizes_share_the_tokenizer_of_their_data(tmp_path: Path) -> None:
    sources = open_sources(recipe(tmp_path).runs[0].config.data)
    small, wide, told = (
        recipe(tmp_path, RECIPE, *keys).runs[0].config.model.llm
        for keys in ((), ("model.llm.width=32",), ("model.llm.system=Look.",))
    )
    assert sources.chat(wide) is sources.chat(small)
    assert sources.chat(told) is not sources.chat(small)


def test_run_and_plan_count_the_same_flops(tmp_path: Path) -> None:
    read = recipe(tmp_path)
    config = read.runs[0].config
    sources = open_sources(config.data)
    cost = flops_per_sample(config, sources, make_chat(config.model, sources.texts)).training
    (planned,) = plan(read)
    assert sum(planned.flops_per_sample.values()) == pytest.approx(cost)
    assert sum(row.forward + row.backward for row in planned.ledger) == pytest.approx(cost)


def test_budget_becomes_steps_by_the_ledger(tmp_path: Path) -> None:
    cost = sum(only(tmp_path).flops_per_sample.values())
    planned = only(tmp_path, RECIPE, f"training.budget={cost * 4 * 10.5}")
    assert (planned.steps, planned.samples) == (10, 40)


def test_frozen_parts_do_not_train_and_cost_less(tmp_path: Path) -> None:
    whole = only(tmp_path)
    part = only(tmp_path, RECIPE, 'training.frozen=["llm"]')
    assert part.parameters.total == whole.parameters.total
    assert part.parameters.trainable == whole.parameters.total - whole.parameters.components["llm"]
    assert part.rates["llm"] == 0
    assert part.flops < whole.flops


def test_tokenizer_that_waits_for_data_gets_an_assumed_vocabulary(tmp_path: Path) -> None:
    data = '[[data.sources]]\nname = "clips"\npath = "nowhere.csv"\n'
    planned = only(tmp_path, 'name = "tiny"\n' + ENCODER + CONNECTOR + LLM + data + TRAINING)
    assert planned.vocabulary == ASSUMED_VOCABULARY
    assert any("nowhere" in note for note in planned.notes)
    assert any(str(ASSUMED_VOCABULARY) in note for note in planned.notes)


def test_plugins_that_cannot_be_counted_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    look_at_values: Any = lambda self, z: z * z.max().item()
    monkeypatch.setattr("fvlm_foveated.model.FoveatedConnector.to_llm", look_at_values)
    monkeypatch.setattr("fvlm_dinov2.config.inner_width", lambda sizes: None)
    said = "\n".join(only(tmp_path).notes)
    assert (
        'the connector "foveated" cannot run on the meta device, where it is counted (RuntimeError: ' in said
    )
    assert "EncoderSpec.mlp" in said


def test_missing_gpu_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    planned = only(tmp_path, RECIPE, "training.device=cuda")
    assert any("sees no GPU" in note for note in planned.notes)
    assert planned.seconds > 0


def test_frames_are_counted_as_they_are_decoded(tmp_path: Path) -> None:
    path = write_video(tmp_path / "clip.mp4", frames=60, fps=12)
    for video in (VideoFile(path), VideoFile(path, fps=3), VideoFile(path, fps=3, max_frames=7)):
        assert count_frames(video) == len(decode(video, 32))
    assert count_frames(VideoFile(tmp_path / "not there.mp4", seconds=4.0)) == 4
    with pytest.raises(BadSample):
        count_frames(VideoFile(tmp_path / "not there.mp4"))


def test_decoding_is_timed_once_there_is_something_to_decode(tmp_path: Path) -> None:
    config = recipe(tmp_path).runs[0].config
    sources = open_sources(config.data)
    assert decoding_seconds(config, sources, 42) is None
    sources.train[0].prepare(lambda what, done, total: None)
    seconds = decoding_seconds(config, sources, 42)
    assert seconds
    assert 0 < seconds < 1


def test_unusable_samples_are_left_out_of_the_mean(tmp_path: Path) -> None:
    text = RECIPE.replace("[[data.sources]]", "[data]\nmax_text_tokens = 16\n[[data.sources]]")
    config = recipe(tmp_path, text).runs[0].config
    sources = open_sources(config.data)
    chat = make_chat(config.model, sources.texts)
    with pytest.raises(BadSample, match="no token left to supervise"):  # the answer begins after 16 tokens
        first_samples(config, sources, chat)


def test_time_is_work_over_rate_and_never_less_than_its_layers() -> None:
    speed = Speed("cpu", "float32", 1, flops=1e11, utilisation=0.5)
    assert speed.seconds({200: 1e11}, 0) == pytest.approx(2.0)
    assert speed.seconds({50: 1e11}, 0) == pytest.approx(4.0)  # narrow products reach less
    assert speed.seconds({200: 0.0}, 100) > 0.05


VARIED = (
    RECIPE
    + """
[[fits]]
model = "per-size"
[ablate.pooled]
model.connector = { name = "pooled", grid = 2 }
[ablate.longer]
training.samples = 40
[ablate.rule]
training.lr = { rule = "inverse-sqrt-params", base = 1e-3, at = 1000 }
[ablate.two-sources]
data.sources = [{ name = "shapes", weight = 0.5 }, { name = "shapes", level = "gaze" }]
"""
)


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> tuple[Recipe, list[RunPlan]]:
    """Five runs, planned once."""
    read = recipe(tmp_path_factory.mktemp("varied"), VARIED)
    return read, plan(read)


def test_printed_recipe_reads_back_as_the_same_recipe(root: Path, tmp_path: Path) -> None:
    for read in (
        recipe(tmp_path, VARIED),
        recipe(tmp_path, RECIPE),
        read_recipe(str(root / "recipes" / "captions_small.toml")),
        read_recipe(str(root / "recipes" / "phase1b_360m.toml")),
    ):
        again = recipe(tmp_path, "\n".join(resolved_text(read)))
        assert [resolved(run.config) for run in again.runs] == [resolved(run.config) for run in read.runs]
        if len(read.runs) > 1:
            assert [run.id for run in again.runs] == [run.id for run in read.runs]


def test_printed_recipe_keeps_the_seeds_of_repeats(tmp_path: Path) -> None:
    read = recipe(tmp_path, "seeds = 3\n" + RECIPE)
    again = recipe(tmp_path, "\n".join(resolved_text(read)))
    assert [run.seed for run in again.runs] == [run.seed for run in read.runs] == [42, 43, 44]


def test_plan_as_json_holds_every_resolved_value(varied: tuple[Recipe, list[RunPlan]]) -> None:
    read, plans = varied
    shown = json.loads(json.dumps(plan_json(read, plans)))
    assert [run["id"] for run in shown["runs"]] == ["baseline", "pooled", "longer", "rule", "two-sources"]
    first = shown["runs"][0]
    assert (
        first["resolved"]["model"]["encoder"]["patch_size"] == 14
    )  # a default that the recipe does not write
    assert first["resolved"]["training"]["betas"] == [0.9, 0.999]
    assert first["plan"]["parameters"]["total"] == plans[0].parameters.total
    assert first["plan"]["flops_per_sample"]["total"] == pytest.approx(plans[0].flops / plans[0].samples)
    assert [name for name, _ in shown["runs"][-1]["plan"]["epochs"]] == ["shapes", "shapes"]
    assert shown["totals"]["samples"] == sum(run["plan"]["samples"] for run in shown["runs"])


def test_dry_run_prints_the_recipe_and_its_plan(
    tmp_path: Path,
    varied: tuple[Recipe, list[RunPlan]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(VARIED)
    code, out, _ = run_cli(["run", str(file), "--dry-run"], monkeypatch, capsys)
    assert code == 0
    assert "[model.encoder]" in out
    lines = [line.split() for line in out.splitlines()]
    (base,) = [words for words in lines if words[:1] == ["baseline"]]
    assert base[2:5] == [f"{varied[1][0].parameters.total:,}", "6", "24"]
    assert ["5", "runs"] in [words[:2] for words in lines]
    assert not (tmp_path / "runs").exists()


def test_share_of_the_peak_is_a_number_and_an_assumed_one_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(RECIPE)
    arguments = ["run", str(file), "--dry-run", "--device", "RTX 5090"]
    assert "x 0.3 assumed to be reached in training" in run_cli(arguments, monkeypatch, capsys)[1]
    assert "x 0.08 reached in training" in run_cli([*arguments, "--mfu", "0.08"], monkeypatch, capsys)[1]
    code, _, err = run_cli([*arguments, "--mfu", "nan"], monkeypatch, capsys)
    assert (code, 'expected a number, got "nan"' in err) == (2, True)


def test_note_is_said_once_with_the_runs_it_is_about(
    varied: tuple[Recipe, list[RunPlan]], capsys: pytest.CaptureFixture[str]
) -> None:
    read, (first, *others) = varied
    console = Console(width=400)
    show_plan(console, read, [evolve(first, notes=("only here",)), *(evolve(p, notes=()) for p in others)])
    out = capsys.readouterr().out
    assert out.count("only here (baseline)") == 1
    assert out.count("a multiply-add is 2") == 1


def test_estimates_are_shown_in_two_digits() -> None:
    shown = [about(seconds) for seconds in (0.4, 41.3, 119, 125, 4000, 200_000, 300_000, 1e8)]
    assert shown == ["0.4 s", "41 s", "119 s", "2.1 min", "67 min", "56 h", "3 days", "1,157 days"]
