"""Signals: their captions are drawn at the odds that are stated, and what these leave is the least loss there is."""

from __future__ import annotations

import json
from collections import Counter
from math import log
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from attrs import evolve
from fvlm_shapes.config import Shapes
from fvlm_shapes.scenes import scene
from fvlm_shapes.signals import SAID, SIGNALS, VOCABULARY, Signal, entropy
from fvlm_shapes.source import build
from scipy import stats

from fvlm_core.data.collate import Preparer
from fvlm_core.data.loader import validation_set
from fvlm_core.model.byte_tokenizer import ByteChat
from fvlm_core.scaling.fit.fitting import fit_points, load_model
from fvlm_core.scaling.points.points import tidy

CLIPS = 4000
CAPTION = "pi me pi pi bi po me pi va pi pi pi ta pi pi ti"


@pytest.fixture(scope="module")
def clips() -> list[Signal]:
    drawn = [scene("signals", 0, "train", index, 2) for index in range(CLIPS)]
    assert all(isinstance(clip, Signal) for clip in drawn)
    return drawn  # type: ignore[return-value]


def test_the_floor_is_the_entropy_of_zipfs_law(clips: list[Signal]) -> None:
    """Told three ways: scipy's, by the captions that are drawn, and by how often each rank is said."""
    expected = float(stats.entropy(np.arange(1, 65) ** -1.5))
    assert entropy() == pytest.approx(expected, rel=1e-12)
    nats = np.array([clip.nats() for clip in clips]) / SAID
    assert abs(nats.mean() - expected) < 4 * nats.std() / CLIPS**0.5
    said = Counter(rank for clip in clips for rank in clip.ranks)
    often = np.array([said[rank] for rank in range(64)])
    assert stats.entropy(often) == pytest.approx(expected, abs=0.01)


def test_signals_and_words_come_as_often_as_stated(clips: list[Signal]) -> None:
    """Chi-squared of the ranks of words, and of the commonest signals; both odds are 1/rank^1.5."""
    for counts, kinds in (
        (Counter(rank for clip in clips for rank in clip.ranks), len(VOCABULARY)),
        (
            Counter(dict(enumerate(sorted(Counter(clip.flags for clip in clips).values(), reverse=True)))),
            SIGNALS,
        ),
    ):
        odds = np.arange(1, kinds + 1) ** -1.5
        odds /= odds.sum()
        seen = np.array([counts[rank] for rank in range(kinds)])
        expected = odds * seen.sum()
        first = min(int((expected > 20).sum()), kinds - 1)  # the rare ones together
        observed = [*seen[:first], seen[first:].sum()]
        assert stats.chisquare(observed, [*expected[:first], expected[first:].sum()]).pvalue > 1e-4


def test_what_is_said_of_a_signal_is_its_own_order(clips: list[Signal]) -> None:
    """From a signal and a rank the word follows, and from a row of flags the signal; orders have nothing in common."""
    orders: dict[tuple[tuple[str, ...], ...], dict[int, str]] = {}
    for clip in clips:
        order = orders.setdefault(clip.flags, {})
        for rank, word in zip(clip.ranks, clip.words, strict=True):
            assert order.setdefault(rank, word) == word
    assert len(orders) > 200
    assert all(len({*order.values()}) == len(order) for order in orders.values())
    first = Counter(order[0] for order in orders.values() if 0 in order)
    assert len(first) > 55
    assert max(first.values()) < 0.06 * len(orders)


def test_a_clip_is_the_same_in_every_process_and_of_either_split() -> None:
    """Its words were written down once."""
    clip = scene("signals", 0, "train", 0, 2)
    assert clip.caption() == CAPTION
    assert scene("signals", 0, "validation", 0, 2) != clip
    assert scene("signals", 0, "train", 0, 4).frames()[0].tobytes() == clip.frames()[0].tobytes()


def test_the_level_says_its_floor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = tiny.run_cli(
        ["data", "describe", "shapes", "-o", "level=signals", "--json"], monkeypatch, capsys
    )
    assert code == 0
    said = json.loads(out)["floor"]
    assert f"{entropy():.4f} nats a word" in said
    assert f"{SAID * entropy() / (SAID + 2):.4f} a token" in said
    assert "0 nats" in Shapes(level="easy").floor()


def test_there_is_no_worse_caption_of_a_signal() -> None:
    with pytest.raises(ValueError, match="pairs: no caption of a signal is worse"):
        Shapes(level="signals", pairs=True)


def test_a_run_records_what_a_model_that_knows_the_odds_would_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The mean over supervised tokens of -ln of the odds of each word of the validation captions, by hand."""
    recipe = tmp_path / "r.toml"
    text = tiny.RECIPE.replace('name = "shapes"', 'name = "shapes"\nlevel = "signals"\nframes = 2')
    recipe.write_text(text.replace("image_size = 42", "image_size = 28") + '\n[[runs]]\nid = "one"\n')
    monkeypatch.chdir(tmp_path)
    assert tiny.run_cli(["run", str(recipe)], monkeypatch, capsys)[0] == 0
    summary = json.loads((tmp_path / "runs/tiny/one/summary.json").read_text())
    source = build(Shapes(level="signals", frames=2, clips=32, validation_clips=8), "validation")
    odds = [rank**-1.5 for rank in range(1, 65)]
    nats = 0.0
    for index in range(8):
        clip = scene("signals", 0, "validation", index, 2)
        assert source[index].turns[-1].content == " ".join(clip.words)
        nats -= sum(log(odds[rank] / sum(odds)) for rank in clip.ranks)
    rows = (tmp_path / "runs/tiny/one/metrics.jsonl").read_text().splitlines()
    tokens = next(row["val_tokens"] for row in map(json.loads, rows) if row["event_type"] == "eval")
    assert summary["val_floor"] == pytest.approx(nats / tokens, rel=1e-12)
    assert summary["best_val_loss"] > summary["val_floor"]


@pytest.mark.parametrize(("supervise", "kept"), [("all", 512), ("answer", 60)])
def test_where_labels_are_others_than_the_answer_no_floor_is_said(
    supervise: str, kept: int, tmp_path: Path
) -> None:
    """Of all of a chat, and of an answer that was cut, nobody knows what they cost."""
    source = build(
        Shapes(level="signals", frames=2, cache=tmp_path, clips=4, validation_clips=4), "validation"
    )
    source.prepare(lambda what, done, total: None)
    whole = validation_set([source], Preparer(ByteChat(), 28, "answer", 512), 4, 4).floor
    assert whole is not None
    assert validation_set([source], Preparer(ByteChat(), 28, supervise, kept), 4, 4).floor is None


@pytest.mark.parametrize(("floor", "said"), [(1.7, "holds it"), (1.2, "does not hold it")])
def test_a_fit_says_whether_its_e_holds_the_floor(floor: float, said: str) -> None:
    """Points of a law with E = 1.7 and a little noise."""
    rng = np.random.default_rng(0)
    n, d = (values.ravel() for values in np.meshgrid(np.geomspace(1e6, 1e9, 6), np.geomspace(1e7, 1e10, 6)))
    loss = (1.7 + 400 * n**-0.34 + 400 * d**-0.3) * np.exp(0.001 * rng.standard_normal(len(n)))
    points = tidy(pd.DataFrame({"n": n, "d": d, "loss": loss}), "made", [])
    report = fit_points(evolve(points, floor=floor), load_model("joint-chinchilla"), draws=200)
    (line,) = report.conclusions
    assert line.endswith(said)
    assert f"the floor of these data is {floor} nats a token" in line
    assert fit_points(points, load_model("joint-chinchilla"), draws=20).conclusions == ()
