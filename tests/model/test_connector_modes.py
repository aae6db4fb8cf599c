"""A connector's modes and auxiliary losses are its own: a plugin declares them; the core knows their names alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from kit import write_plugin
from small import batch, model
from tiny import DATA, ENCODER, LLM, TRAINING, run_cli, train

from fvlm_core.cli.completion import VARIABLE, Bash
from fvlm_core.cli.main import fvlm as command
from fvlm_core.plugin_api import Auxiliary, ConnectorSpec, VisualTokens
from fvlm_core.testing import check
from fvlm_core.utils.errors import FvlmError
from fvlm_registry import registry

CLIPS = batch([3, 2], [6, 5])
PLUGIN = """
from attrs import field, frozen, validators
from fvlm_core.plugin_api import Component, ConnectorSpec, hookimpl


@frozen(kw_only=True)
class Memory:
    mode: str = field(default="each", validator=validators.in_(("each", "recalled")))
    draft: float = 0.5

    def spec(self, encoder):
        return ConnectorSpec(
            tokens_per_frame=1, mode=self.mode, modes=("each", "recalled"), auxiliary=("draft", "first")
        )


@hookimpl
def fvlm_connectors():
    names = {"target": "fvlm_acme_memory.model:Memory", "config": "fvlm_acme_memory.plugin:Memory"}
    yield Component("memory", **names, summary="each frame, and what the frames before it left", needs=("query",))
"""
MODEL = """
import torch
from fvlm_core.plugin_api import Auxiliary, Connector, VisualTokens
from torch import nn


class Memory(Connector):
    encoder_tokens = False
    encoder_layers = True

    def __init__(self, config, encoder, llm):
        super().__init__()
        self.spec, self.weight = config.spec(encoder), config.draft
        self.query = nn.Parameter(torch.randn(1, encoder.width))
        self.project, self.keep = nn.Linear(encoder.width, llm.width), nn.Linear(llm.width, llm.width)

    def connect(self, features, counts, encoder, llm, *, mode=None):
        seen = self.project(encoder.attend(self.query.expand(int(counts.sum()), -1), features))
        mode = mode or self.spec.mode
        kept = []
        for frames in seen.split(counts.tolist()):
            state = torch.zeros_like(seen[:1])
            for frame in frames:
                kept.append(frame + self.keep(state[0] if mode == "recalled" else frame))
                state = kept[-1][None]
        tokens = torch.stack(kept) if kept else seen
        further = [Auxiliary("draft", self.weight, seen[:, None])] if self.training or self.weight else []
        return VisualTokens(tokens[:, None], further)

    def attention(self, features, counts, encoder, llm):
        weights = []
        encoder.attend(self.query.expand(int(counts.sum()), -1), features, weights=weights)
        return {"glance": weights}
"""
RECIPE = 'name = "own"\n' + ENCODER + '[model.connector]\nname = "memory"\n' + LLM + DATA + TRAINING


Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a run "own/own" of the plugin's connector; the plugin is installed."""
    folder = tmp_path_factory.mktemp("memory")
    site = write_plugin(folder, "fvlm_acme_memory", {"plugin.py": PLUGIN, "model.py": MODEL})
    (folder / "own.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        patch.chdir(folder)
        registry.cache_clear()
        train(folder / "own.toml", folder / "runs")
        yield folder
    registry.cache_clear()


@pytest.fixture
def cli(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli(list(arguments), monkeypatch, capsys)


def rows(folder: Path, event: str) -> list[dict[str, Any]]:
    lines = (folder / "runs/own/own/metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["event_type"] == event]


def test_it_keeps_the_contract(place: Path) -> None:
    assert check("memory")


def test_metrics_have_a_column_for_each_auxiliary_loss_and_none_for_those_of_others(place: Path) -> None:
    for row in rows(place, "train"):
        assert row["loss_draft"] > 0
        assert row["loss_first"] is None
        assert row["loss_ratio"] == pytest.approx(row["loss_draft"] / row["loss_fine"])
    for row in rows(place, "eval"):
        assert row["val_loss_draft"] > 0
        assert row["val_loss_first"] is None
        assert row["val_loss_ratio"] == pytest.approx(row["val_loss_draft"] / row["val_loss_fine"])
        assert row["attention_entropy"] > 0
    assert not [
        name for row in rows(place, "train") + rows(place, "eval") for name in row if "coarse" in name
    ]


def test_an_evaluation_offers_the_connectors_own_modes(place: Path, cli: Cli) -> None:
    code, out, err = cli("eval", "own", "--mode", "all", "--json")
    assert code == 0, err
    modes = json.loads(out)["modes"]
    assert list(modes) == ["each", "recalled"]
    assert modes["each"]["val_loss"] != modes["recalled"]["val_loss"]
    assert modes["each"]["val_loss_draft"] == modes["recalled"]["val_loss_draft"]
    best = min(rows(place, "eval"), key=lambda row: row["val_loss"])
    assert modes["each"]["val_loss_draft"] == pytest.approx(best["val_loss_draft"], rel=1e-5)


def test_a_mode_of_another_connector_is_refused_with_those_there_are(cli: Cli) -> None:
    code, _, err = cli("eval", "own", "--mode", "coarse_only")
    assert (code, err.splitlines()[-1]) == (2, '--mode: expected "each" or "recalled", got "coarse_only"')
    assert 'did you mean "recalled"?' in cli("eval", "own", "--mode", "recaled")[2]


def test_the_shell_completes_the_modes_of_the_run(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line = "fvlm eval own --mode "
    for name, value in (("COMP_LINE", line), ("COMP_POINT", str(len(line))), ("COMP_WORDBREAKS", " ")):
        monkeypatch.setenv(name, value)
    told = [word.partition(",") for word in Bash(command, {}, "fvlm", VARIABLE).complete().splitlines()]
    assert [name for kind, _, name in told if kind == "plain"] == ["each", "recalled", "all"]


def test_the_export_has_a_column_for_each_auxiliary_loss_that_was_measured(place: Path, cli: Cli) -> None:
    assert cli("export", "own", "--to", "out")[0] == 0
    points = list(csv.DictReader((place / "out/all_eval_points.csv").open()))
    measured = [(row["step"], row["val_loss_draft"]) for row in rows(place, "eval")]
    assert [(int(row["step"]), float(row["val_loss_draft"])) for row in points] == measured
    assert "val_loss_first" in points[0]
    assert cli("import", "out", "--runs", "again")[0] == 0


def test_an_auxiliary_loss_that_is_not_declared_is_named_with_what_to_declare() -> None:
    vlm = model()
    made = vlm.see(CLIPS)
    vlm.see = lambda *_: VisualTokens(made.tokens, [Auxiliary("draft", 0.5, made.tokens)])  # type: ignore[method-assign]
    with pytest.raises(
        FvlmError, match=r'"draft", which its spec does not declare: expected one of coarse; or'
    ):
        vlm(CLIPS)


def test_auxiliary_losses_add_up_by_name() -> None:
    vlm = model()
    made = vlm.see(CLIPS)
    twice = [Auxiliary("coarse", weight, made.tokens) for weight in (0.5, 0.25)]
    vlm.see = lambda *_: VisualTokens(made.tokens, twice)  # type: ignore[method-assign]
    losses = vlm(CLIPS)
    torch.testing.assert_close(losses.auxiliary["coarse"], 2 * losses.fine)
    torch.testing.assert_close(losses.loss.detach(), 1.75 * losses.fine)


@pytest.mark.parametrize("name", ["fine", "ratio", "by_source", "tokens", "two words", "", "spikes"])
def test_an_auxiliary_loss_cannot_have_the_name_of_another_column(name: str) -> None:
    with pytest.raises(ValueError, match=f'^auxiliary: "{name}" is no name for a column'):
        ConnectorSpec(tokens_per_frame=1, mode="coarse_only", auxiliary=(name,))


def test_modes_that_are_not_declared_are_those_of_before() -> None:
    assert ConnectorSpec(tokens_per_frame=1).modes == ("coarse_only", "coarse_fine", "autoregressive")
    assert ConnectorSpec(tokens_per_frame=1, mode="own").modes == ("own",)
    with pytest.raises(ValueError, match=r'^modes: expected its own among them, "own", got other'):
        ConnectorSpec(tokens_per_frame=1, mode="own", modes=("other",))
