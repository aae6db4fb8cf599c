"""`fvlm eval`: the loss of the metrics again, in every mode, by source, on any data, of any model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tiny import run_cli, trained

from fvlm_core.runs.store import StoredRun, find_run

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a complete run "tiny/tiny"."""
    return trained(tmp_path_factory.mktemp("eval"))


@pytest.fixture
def cli(place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    monkeypatch.chdir(place)
    monkeypatch.setenv("FVLM_CACHE", str(place / "cache"))
    return lambda *arguments: run_cli(list(arguments), monkeypatch, capsys)


def best(run: StoredRun) -> dict[str, object]:
    (row,) = [row for row in run.evaluations() if row["step"] == run.summary["best_val_step"]]
    return row


def test_a_run_on_its_own_validation_gives_the_numbers_of_its_metrics(place: Path, cli: Cli) -> None:
    code, out, err = cli("eval", "tiny/tiny", "--json")
    assert code == 0, err
    told = json.loads(out)
    row = best(find_run("tiny/tiny", place / "runs"))
    assert (told["model"], told["step"], told["samples"]) == ("tiny/tiny", row["step"], 8)
    measured = told["modes"]["coarse_fine"]
    for name in (
        "val_loss",
        "val_loss_content",
        "attention_entropy",
        "attention_entropy_fine",
        "val_loss_by_source",
    ):
        assert measured[name] == row[name]


def test_all_three_modes_differ_and_are_in_one_table(cli: Cli) -> None:
    code, out, err = cli("eval", "tiny", "--mode", "all")
    assert code == 0, err
    lines = {line.split()[0]: line.split()[1] for line in out.splitlines()[1:4]}
    assert set(lines) == {"coarse_only", "coarse_fine", "autoregressive"}
    assert len(set(lines.values())) == 3
    assert out.splitlines()[0].split() == [
        "mode",
        "loss",
        "words",
        "shapes",
        "entropy",
        "entropy",
        "fine",
        "tokens",
    ]


def test_data_by_the_name_of_a_source_with_settings_of_its_own(cli: Cli) -> None:
    code, out, err = cli("eval", "tiny", "--data", "shapes", "-o", "validation_clips=4", "--json")
    assert code == 0, err
    assert json.loads(out)["samples"] == 4
    code, out, _ = cli("eval", "tiny", "--data", "shapes", "--split", "train", "--samples", "5", "--json")
    assert (json.loads(out)["samples"], json.loads(out)["split"]) == (5, "train")


def test_the_loss_of_all_sources_is_weighted_by_their_tokens(place: Path, cli: Cli) -> None:
    from fvlm_core.evaluation.subject import measure, open_subject
    from fvlm_core.plugin_api import DataSource, Sample, Turn

    class Said(DataSource):
        """Text alone."""

        def __init__(self, name: str, words: list[str]) -> None:
            self.name, self.words = name, words

        def __len__(self) -> int:
            return len(self.words)

        def __getitem__(self, index: int) -> Sample:
            turns = (Turn("user", "Describe this."), Turn("assistant", self.words[index]))
            return Sample(f"{index}", self.name, turns)

    subject = open_subject("tiny/tiny", place / "runs")
    long, short = Said("long", ["a red ball moves left " * 4] * 3), Said("short", ["ball"])
    both = measure(subject, [long, short], ["coarse_fine"], None).rows["coarse_fine"]  # type: ignore[list-item]
    alone = {
        source.name: measure(subject, [source], ["coarse_fine"], None).rows["coarse_fine"]  # type: ignore[list-item]
        for source in (long, short)
    }
    tokens = {name: row["val_tokens"] for name, row in alone.items()}
    assert tokens["long"] > 3 * tokens["short"]
    for name, row in alone.items():
        assert both["val_loss_by_source"][name] == pytest.approx(row["val_loss"], rel=1e-5)
    mean = sum(alone[name]["val_loss"] * tokens[name] for name in tokens) / sum(tokens.values())
    assert both["val_loss"] == pytest.approx(mean, rel=1e-5)


def test_exported_weights_give_the_same_numbers(place: Path, cli: Cli) -> None:
    assert cli("weights", "export", "tiny", "--to", "exported")[0] == 0
    settings = ("-o", "clips=32", "-o", "validation_clips=8")
    code, out, err = cli("eval", "exported", "--data", "shapes", *settings, "--json")
    assert code == 0, err
    measured = json.loads(out)["modes"]["coarse_fine"]
    assert measured["val_loss"] == pytest.approx(best(find_run("tiny", place / "runs"))["val_loss"], rel=1e-6)
    code, _, err = cli("eval", "exported")
    assert (code, "name a source with --data" in err) == (2, True)


def test_imported_weights_are_a_run_like_any_other(place: Path, cli: Cli) -> None:
    run = find_run("tiny/tiny", place / "runs")
    weights = run.folder / "checkpoints" / f"step-{run.summary['best_val_step']:08d}" / "model.safetensors"
    save_file(load_file(weights), place / "w.safetensors")
    imported = ("weights", "import", "w.safetensors", "--recipe", "tiny.toml", "--to", "imported")
    assert cli(*imported)[0] == 0
    code, out, err = cli("eval", "imported", "--json")
    assert code == 0, err
    assert json.loads(out)["modes"]["coarse_fine"]["val_loss"] == best(run)["val_loss"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("tiny", "--data", "shape"), 'none of the data sources is called "shape": did you mean "shapes"?'),
        (("tinny",), 'did you mean "tiny'),
        (("tiny", "-o", "clips=3"), "-o belongs to a data source: name it with --data"),
        (("tiny", "--data", "shapes", "-o", "clip=3"), 'clip: unknown key; did you mean "clips"?'),
        (("tiny", "--data", "clips", "-o", "path=nowhere"), "nowhere"),
        (("tiny", "--data", "clips"), 'data source "clips": path: missing; expected a path'),
    ],
)
def test_what_cannot_be_measured_is_explained(arguments: tuple[str, ...], said: str, cli: Cli) -> None:
    code, _, err = cli("eval", *arguments)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_metrics_are_of_the_models_answers(cli: Cli) -> None:
    how = ("--metric", "exact-match", "--metric", "token-f1", "--answers", "5", "--tokens", "4", "--json")
    code, out, err = cli("eval", "tiny", *how)
    assert code == 0, err
    told = json.loads(out)
    [(mode, row)] = told["modes"].items()
    answers = told["answers"][mode]
    assert len(answers) == 5
    scores = [each["scores"]["token_f1"] for each in answers]
    assert row["token_f1"] == pytest.approx(sum(scores) / 5)
    assert row["token_f1_low"] <= row["token_f1"] <= row["token_f1_high"]
    assert json.loads(cli("eval", "tiny", *how)[1]) == told
    drawn = json.loads(cli("eval", "tiny", *how, "--temperature", "2.0")[1])
    assert [each["generated"] for each in drawn["answers"][mode]] != [each["generated"] for each in answers]
    assert json.loads(cli("eval", "tiny", *how, "--temperature", "2.0")[1]) == drawn


def test_metrics_stand_in_a_table_of_their_own(cli: Cli) -> None:
    code, out, err = cli(
        "eval", "tiny", "--metric", "chrf", "--answers", "3", "--tokens", "4", "--beams", "2"
    )
    assert code == 0, err
    lines = [line.split() for line in out.splitlines()]
    assert ["mode", "metric", "mean", "low", "high", "answers"] in lines
    [row] = [line for line in lines if "chrf" in line]
    assert (row[0], row[1], row[-1], len(row)) == ("coarse_fine", "chrf", "3", 6)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--metric", "crf"), 'none of the metrics is called "crf": did you mean "chrf"?'),
        (("--beams", "2"), "nothing is answered without --metric NAME"),
        (("--stop", "."), "nothing is answered without --metric NAME"),
        (
            ("--metric", "chrf", "--beams", "2", "--temperature", "1"),
            "--temperature: a search of 2 beams samples",
        ),
        (("--metric", "chrf", "--top-p", "0.5"), "--top-p: nothing is sampled without a temperature"),
        (("--metric", "chrf", "--temperature", "0"), "--temperature: must be > 0: 0.0"),
    ],
)
def test_options_of_answers_that_make_no_sense_are_explained(
    options: tuple[str, ...], text: str, cli: Cli
) -> None:
    code, out, err = cli("eval", "tiny", *options)
    assert (code, out) == (2, "")
    assert text in " ".join(err.split())
    assert "Traceback" not in err
