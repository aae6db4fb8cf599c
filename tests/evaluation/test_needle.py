"""`fvlm needle`: every cell is asked of the right videos, watched as they come; scores are exact, kept with the run,
drawn, and in the report."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from fvlm_shapes.config import Needles
from fvlm_shapes.needles import FLAGS, build
from scipy.stats import binomtest
from small import CONNECTORS, connected
from tiny import CONNECTOR, DATA, RECIPE, run_cli, train

import fvlm_core.evaluation.needle as needle_module
from fvlm_core.data.batch import Batch
from fvlm_core.evaluation.needle import watch
from fvlm_core.media.frames import decode_frames
from fvlm_core.report.html.content import gather
from fvlm_core.runs.scores import read_scores, write_scores
from fvlm_core.runs.store import list_runs
from fvlm_core.utils.errors import UsageError

NEEDLES = '\n[[data.sources]]\nname = "needles"\nlengths = [4, 6]\nclips = 32\nvalidation_clips = 8\n'


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a complete run "tiny/tiny" that was trained on needles, and "pooled/pooled"."""
    folder = tmp_path_factory.mktemp("needles")
    pooled = '\n[model.connector]\nname = "pooled"\ngrid = 1\n'
    for name, text in (("tiny", RECIPE), ("pooled", RECIPE.replace(CONNECTOR, pooled))):
        file = folder / f"{name}.toml"
        file.write_text(text.replace(DATA, NEEDLES).replace('name = "tiny"', f'name = "{name}"'))
        train(file, folder / "runs")
    return folder


@pytest.fixture
def cli(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(place)
    return lambda *arguments: run_cli(["needle", *arguments], monkeypatch, capsys)


class Oracle:
    """Answers as it likes, and remembers what it was shown and asked."""

    def __init__(self, right: Any) -> None:
        self.right = right
        self.seen: list[tuple[int, float, str]] = []

    def __call__(self, model: Any, chat: Any, turns: Any, frames: Any, **more: Any) -> str:
        _, _, number = more["key"].partition("/")
        _, split, index, length, first = number.split("-")
        depth = int(first) / (int(length) - 3)
        config = Needles(lengths=(int(length),), depths=(depth,), validation_clips=10)
        own = build(config, split)[int(index)]  # type: ignore[arg-type]
        assert own.turns[:-1] == turns
        assert (frames.shape[0], len(more["visual"])) == (0, int(length))
        self.seen.append((int(length), depth, number))
        return own.turns[-1].content if self.right(int(length), depth, int(index)) else "grey"


def test_every_cell_is_of_its_length_and_depth_with_the_exact_interval(
    cli: Any, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle = Oracle(lambda length, depth, index: length == 5 or index < 4)
    monkeypatch.setattr(needle_module, "answer", oracle)
    code, out, err = cli("tiny", "--lengths", "5,9", "--depths", "0,0.5,1", "--samples", "10", "--json")
    assert code == 0, err
    found = json.loads(out)
    assert [(cell["length"], cell["depth"]) for cell in found["cells"]] == [
        (length, depth) for length in (5, 9) for depth in (0.0, 0.5, 1.0)
    ]
    assert [cell[:2] for cell in oracle.seen] == [
        (length, depth) for length in (5, 9) for depth in (0.0, 0.5, 1.0) for _ in range(10)
    ]
    for cell in found["cells"]:
        hits = 10 if cell["length"] == 5 else 4
        exact = binomtest(hits, 10).proportion_ci(0.95, "exact")
        assert cell["mean"] == hits / 10
        assert (cell["low"], cell["high"]) == pytest.approx((exact.low, exact.high))
    assert (found["chance"], found["metric"]) == (1 / len(FLAGS), "exact_match")
    assert found["watched"] == "frame by frame"
    kept = read_scores(place / "runs/tiny/tiny", "needle")
    assert kept == {**found, "weights": None}
    code, out, _ = cli("tiny", "--lengths", "5", "--depths", "0", "--samples", "2", "--no-record")
    assert code == 0
    assert "1.00 [0.16, 1.00]" in out
    assert "chance 0.125: 1 of 1 cells above" in out
    assert read_scores(place / "runs/tiny/tiny", "needle") == kept


@pytest.mark.parametrize("name", sorted(CONNECTORS))
@pytest.mark.parametrize("first", [False, True], ids=["frames first", "question first"])
def test_videos_watched_in_step_have_the_tokens_of_each_alone_with_any_connector(
    name: str, first: bool
) -> None:
    vlm = connected(name, whole={"question_first": first}).double().eval()
    clips = build(Needles(lengths=(7,)), "validation")
    samples = [clips[index] for index in range(3)]
    question = [3, 1, 4]
    told: list[int] = []
    together = watch(vlm, samples, question, each=lambda frames, stream: told.append(frames))
    assert told == list(range(1, 8))
    mode = "autoregressive" if "autoregressive" in vlm.connector.spec.modes else None
    size = vlm.encoder.spec.image_size
    for sample, tokens in zip(samples, together, strict=True):
        ids = torch.tensor([question])
        none = torch.zeros_like(ids, dtype=torch.bool)
        batch = Batch(
            torch.from_numpy(decode_frames(sample, size)),
            torch.tensor([7]),
            ids,
            torch.tensor([3]),
            none,
            none,
            sample_ids=(f"needles/{sample.id}",),
            questions=torch.tensor([3]),
        )
        with torch.no_grad():
            alone = vlm.see(batch, mode).tokens
        torch.testing.assert_close(tokens, alone, rtol=0, atol=1e-9)


def test_the_heat_map_is_written_and_the_report_shows_it(cli: Any, place: Path) -> None:
    code, _, err = cli("pooled", "--lengths", "4,8", "--depths", "0,1", "--samples", "2", "--out", "map.png")
    assert (code, err.count("error")) == (0, 0)
    assert (place / "map.png").read_bytes().startswith(b"\x89PNG")
    runs = list_runs(place / "runs")
    [section] = [one for one in gather(runs, draw_fits=False).sections if one.id == "needles"]
    block = next(block for block in section.blocks if "pooled" in block.heading)
    assert len(block.tables[0].rows) == 4
    assert block.pictures[0].frames[0].url.startswith("data:image/png")
    assert "1 tokens a frame" in block.pictures[0].caption


def test_damage_of_the_kept_scores_is_named_and_costs_nothing_else(place: Path) -> None:
    folder = place / "runs/pooled/pooled"
    before = read_scores(folder, "needle")
    assert before is not None
    write_scores(folder, "needle", {**before, "cells": [{"length": 4}]})
    [section] = [
        one for one in gather(list_runs(place / "runs"), draw_fits=False).sections if one.id == "needles"
    ]
    said = [text for block in section.blocks for text in block.warnings]
    assert len(said) == 1
    assert "cells[0] lacks depth" in said[0]
    write_scores(folder, "needle", before)
    (folder / "scores/broken.json").write_text("[1]")
    with pytest.raises(UsageError, match=r"broken\.json: expected a table"):
        read_scores(folder, "broken")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lengths", "8,x"], 'expected whole numbers from 1 on, as 8,16,32, got "x"'),
        (["--lengths", "8,8"], "8 stands there twice"),
        (["--lengths", "600"], "512"),
        (["--lengths", "2"], "shown: expected at most 2"),
        (["--depths", "0,2"], 'expected numbers from 0 to 1, as 0,0.5,1, got "2"'),
        (["--depths", "nan"], 'got "nan"'),
        (["--data", "shapes"], "lengths"),
        (["--data", "nedles"], 'did you mean "needles"?'),
        (["--metric", "exact"], "exact-match"),
        (["--mode", "fine"], "--mode: expected"),
        (["--out", "map.bmp"], "expected a file name ending in"),
    ],
)
def test_misuse_is_explained(cli: Any, arguments: list[str], said: str) -> None:
    code, _, err = cli("tiny", *arguments)
    assert code == 2
    assert said in " ".join(err.split())


def test_all_frames_at_once_in_a_mode_give_an_answer_too(cli: Any) -> None:
    given = ("--lengths", "4", "--depths", "0", "--samples", "2", "--json", "--no-record")
    code, out, _ = cli("tiny", "--mode", "coarse_fine", *given)
    assert code == 0
    assert json.loads(out)["watched"] == "coarse_fine"
