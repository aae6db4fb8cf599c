"""Weights made elsewhere come in whole and safely; trained models go out and come back number for number."""

from __future__ import annotations

import json
import os
import pickle
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
import torch
from fvlm_smollm2.chat import from_corpus
from golden import Case
from huggingface_hub import ModelCard
from safetensors.torch import load_file, save_file
from tiny import RECIPE, fvlm, run_cli
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

from fvlm_core.data.batch import Batch
from fvlm_core.evaluation.inference import caption
from fvlm_core.hf import FvlmConfig, FvlmModel
from fvlm_core.hf.export import release
from fvlm_core.plugin_api import Turn
from fvlm_core.runs.store import StoredRun, open_run
from fvlm_core.utils.errors import FvlmError
from fvlm_core.weights.restore import Restored, restore

pytestmark = pytest.mark.timeout(200)
Cli = Callable[..., tuple[int, str, str]]

_TRANSFORMERS_5 = {
    "attention.attention.query": "attention.q_proj",
    "attention.attention.key": "attention.k_proj",
    "attention.attention.value": "attention.v_proj",
    "attention.output.dense": "attention.o_proj",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one trained run."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "tiny.toml").write_text(RECIPE)
    process = fvlm("run", "tiny.toml", cwd=folder, cache=folder / "cache")
    out, _ = process.communicate(timeout=180)
    assert process.returncode == 0, out
    return folder


@pytest.fixture
def run(trained: Path, monkeypatch: pytest.MonkeyPatch) -> StoredRun:
    monkeypatch.chdir(trained)
    monkeypatch.setenv("FVLM_CACHE", str(trained / "cache"))
    return open_run(trained / "runs" / "tiny" / "tiny")


@pytest.fixture(scope="module")
def exported(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The trained run, exported."""
    folder = tmp_path_factory.mktemp("exported") / "model"
    release(open_run(trained / "runs" / "tiny" / "tiny"), folder)
    return folder


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli([str(argument) for argument in arguments], monkeypatch, capsys)


def one_case_a_tag() -> list[Case]:
    """A recorded two-pass case without padded frames of every tag."""
    plain = [
        case
        for case in golden.cases()
        if case.about.get("mode") == "coarse_fine" and "framepad" not in case.name
    ]
    return list({case.tag: case for case in reversed(plain)}.values())


@pytest.mark.parametrize("newer_names", [False, True], ids=["transformers 4", "transformers 5"])
@pytest.mark.parametrize("case", one_case_a_tag(), ids=str)
def test_published_weights_imported_give_the_golden_logits_and_so_does_their_export(
    case: Case, newer_names: bool, cli: Cli, tmp_path: Path
) -> None:
    file = golden.folder() / f"{case.tag}.weights.safetensors"
    if newer_names:
        tensors = {_newer(name): tensor for name, tensor in load_file(file).items()}
        save_file(tensors, file := tmp_path / "model.safetensors")
    recipe = _golden_recipe(case, tmp_path)
    code, _, err = cli("weights", "import", file, "--recipe", recipe, "--to", tmp_path / "run")
    assert (code, err) == (0, "")
    restored = restore(open_run(tmp_path / "run"))
    batch = _golden_batch(case)
    logits = restored.model.logits(batch)
    for ours, theirs, length in zip(logits, case.recorded()["logits"], batch.lengths.tolist(), strict=True):
        torch.testing.assert_close(ours[-length:], theirs[:length], rtol=0, atol=golden.VALUES)

    code, _, err = cli("weights", "export", tmp_path / "run", "--to", tmp_path / "out")
    assert code == 0, err
    for described in ("eye", "speaker"):  # the export stands alone
        shutil.rmtree(tmp_path / described)
    again = AutoModel.from_pretrained(tmp_path / "out")
    assert all(torch.equal(a, b) for a, b in zip(again.vlm.logits(batch), logits, strict=True))
    assert str(tmp_path) not in (tmp_path / "out" / "config.json").read_text()


def test_training_checkpoint_comes_in_whole(run: StoredRun, cli: Cli, tmp_path: Path) -> None:
    tensors = _tensors(run)
    state = {f"module.{name}": tensor for name, tensor in tensors.items()}
    state["module.llm.lm_head.weight"] = tensors["llm.model.embed_tokens.weight"]
    checkpoint = {
        "model_state_dict": state,
        "optimizer_state_dict": {"state": {0: {"step": torch.tensor(7.0)}}, "param_groups": [{"lr": 1e-3}]},
        "scaler_state_dict": {},
        "scheduler_state_dict": {"last_epoch": 7},
        "step": 7,
        "data_position": 224,
        "metric_value": 1.25,
    }
    torch.save(checkpoint, tmp_path / "best.pt")
    code, out, err = cli(
        "weights", "import", tmp_path / "best.pt", "--recipe", "tiny.toml", "--to", tmp_path / "r"
    )
    assert (code, err) == (0, "")
    assert out == f"imported: {tmp_path / 'r'}\n"
    imported = open_run(tmp_path / "r")
    assert restore(imported).step == 7
    assert imported.summary["imported"]["metric_value"] == 1.25
    assert not imported.in_fits
    again = _tensors(imported)
    assert again.keys() == tensors.keys()
    assert all(torch.equal(again[name], tensors[name]) for name in tensors)


def test_imported_weights_are_a_run_like_any_other(
    run: StoredRun, exported: Path, cli: Cli, trained: Path, tmp_path: Path
) -> None:
    file = exported / "model.safetensors"
    code, out, err = cli("weights", "import", file, "--recipe", "tiny.toml", "--runs", tmp_path)
    assert (code, err) == (0, "")
    assert out == f"imported: {tmp_path / 'imported' / 'tiny'}\n"
    [video, *_] = sorted(trained.glob("cache/**/validation/**/*.mp4"))
    said = [cli("caption", video, "--run", "tiny", "--runs", root)[:2] for root in (tmp_path, "runs")]
    assert said[0] == said[1]
    assert said[0][0] == 0
    code, out, _ = cli(
        "gaze", video, "--run", "imported/tiny", "--runs", tmp_path, "--out", tmp_path / "l.png"
    )
    assert code == 0
    assert "coarse and fine" in out
    code, _, err = cli("weights", "import", file, "--recipe", "tiny.toml", "--runs", tmp_path)
    assert code == 2
    assert "is there and not empty; give another folder with --to DIR" in err


class _Malicious:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("write", [torch.save, lambda value, file: file.write_bytes(pickle.dumps(value))])
def test_pickle_that_would_run_code_is_refused_unread(
    write: Callable[[Any, Path], None], run: StoredRun, cli: Cli, tmp_path: Path
) -> None:
    file, mark = tmp_path / "evil.pt", tmp_path / "it_ran"
    write({"model_state_dict": _Malicious(mark)}, file)
    code, _, err = cli("weights", "import", file, "--recipe", "tiny.toml", "--to", tmp_path / "run")
    assert code == 2
    assert not mark.exists()
    assert not (tmp_path / "run").exists()
    assert err.startswith(f"{file}: refused: it holds the Python object ") or "nothing of it was read" in err


def test_tensors_that_do_not_fit_are_listed_together(run: StoredRun, cli: Cli, tmp_path: Path) -> None:
    tensors = _tensors(run)
    tensors["q_statik"] = tensors.pop("connector.q_static")
    del tensors["connector.dino_to_llm.bias"]
    tensors["connector.q_init"] = tensors["connector.q_init"][:, :5].contiguous()
    tensors["llm.lm_head.weight"] = tensors["llm.model.embed_tokens.weight"] + 1
    tensors["nothing.like.it"] = torch.ones(1)
    file = tmp_path / "model.safetensors"
    save_file(tensors, file)
    code, _, err = cli("weights", "import", file, "--recipe", "tiny.toml", "--to", tmp_path / "run")
    assert code == 2
    assert sorted(err.replace(f"{file}: ", "").splitlines()) == [
        "connector.dino_to_llm.bias: missing",
        "connector.q_init: expected shape [1, 8], got [1, 5]",
        'connector.q_static: missing; the nearest in the file is "q_statik"',
        'llm.model.embed_tokens.weight: differs from "llm.lm_head.weight", and here both are one weight (tied)',
        "nothing.like.it: unexpected",
        'q_statik: unexpected; did you mean "connector.q_static"?',
    ]
    assert not (tmp_path / "run").exists()


def test_files_that_hold_no_weights_are_explained(run: StoredRun, cli: Cli, tmp_path: Path) -> None:
    torch.save({"state": torch.ones(1), "epoch": 3}, tmp_path / "other.pt")
    (tmp_path / "torn.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{")
    (tmp_path / "weights.bin").write_bytes(b"")
    for name, expected in {
        "other.pt": 'expected a training checkpoint with "model_state_dict" (names to tensors), got state, epoch',
        "torn.safetensors": "not a whole safetensors file",
        "weights.bin": "expected a .safetensors or a training checkpoint .pt, got weights.bin",
        "absent.pt": "no such file",
    }.items():
        code, _, err = cli(
            "weights", "import", tmp_path / name, "--recipe", "tiny.toml", "--to", tmp_path / "r"
        )
        assert code == 2
        assert err.startswith(f"{tmp_path / name}: {expected}")


def test_recipe_of_several_runs_asks_which(run: StoredRun, cli: Cli, exported: Path, tmp_path: Path) -> None:
    several = tmp_path / "several.toml"
    several.write_text(RECIPE + '[[runs]]\nid = "one"\n[[runs]]\nid = "two"\n')
    given = ("weights", "import", exported / "model.safetensors", "--recipe", several, "--runs", tmp_path)
    assert cli(*given)[::2] == (2, f"{several} has 2 runs; say which one with --run: one, two\n")
    assert cli(*given, "--run", "tow")[::2] == (2, f'--run: {several} has no run "tow"; its runs: one, two\n')
    assert cli(*given, "--run", "two")[:2] == (0, f"imported: {tmp_path / 'imported' / 'two'}\n")


def test_exported_model_is_the_run_s_number_for_number(run: StoredRun, exported: Path) -> None:
    restored = restore(run)
    model = AutoModel.from_pretrained(exported)
    assert isinstance(model, FvlmModel)
    assert not model.training
    frames, ids = _frames(restored), torch.tensor([[1, 5, 6, 2, 4, 7]])
    nothing = torch.zeros_like(ids, dtype=torch.bool)
    batch = Batch(frames, torch.tensor([4]), ids, torch.tensor([6]), ~nothing, ~nothing)
    [expected] = restored.model.logits(batch)
    given = model(frames, ids, labels=ids)
    assert torch.equal(given.logits[0], expected[-6:])
    losses = restored.model(batch)
    assert torch.equal(given.loss, losses.loss / losses.tokens)
    saved = {name.removeprefix("vlm."): tensor for name, tensor in model.state_dict().items()}
    assert {name: tensor.dtype for name, tensor in saved.items()} == dict.fromkeys(
        _tensors(run), torch.float32
    )


def test_export_that_lost_a_weight_is_refused(exported: Path, tmp_path: Path) -> None:
    shutil.copytree(exported, tmp_path / "model")
    tensors = load_file(exported / "model.safetensors")
    del tensors["vlm.connector.q_init"]
    save_file(tensors, tmp_path / "model" / "model.safetensors", {"format": "pt"})
    with pytest.raises(FvlmError, match=r"does not hold vlm\.connector\.q_init$"):
        AutoModel.from_pretrained(tmp_path / "model")


def test_constants_that_are_in_no_weight_file_come_back(tmp_path: Path) -> None:
    """Rotary tables of a timm encoder, which transformers knows nothing of."""
    sizes = {"image_size": 64, "width": 48, "depth": 2, "heads": 2}
    composition = {
        "encoder": {"name": "timm", "model": "vit_small_patch16_dinov3", "weights": "seeded", **sizes},
        "connector": {"name": "foveated", "query_dim": 8},
        "llm": {"name": "smollm2", "weights": "seeded", "width": 16, "mlp": 32, "depth": 1, "heads": 2},
    }
    model = FvlmModel(FvlmConfig(composition=composition, vocab_size=61, eos_token_id=2)).eval()
    assert any("vit.rope" in name for name, _ in model.named_non_persistent_buffers())
    model.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    given = torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8), torch.tensor([[1, 2, 3]])
    assert torch.equal(again(*given).logits, model(*given).logits)


def test_padded_batches_give_each_sample_s_own_logits(exported: Path) -> None:
    model = AutoModel.from_pretrained(exported)
    frames = torch.randint(0, 256, (3, 3, 42, 42), dtype=torch.uint8)
    ids = torch.tensor([[1, 5, 6, 2], [1, 4, 0, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]])
    both = model(frames, ids, torch.tensor([1, 2]), mask).logits
    torch.testing.assert_close(both[0], model(frames[:1], ids[:1]).logits[0])
    torch.testing.assert_close(both[1, :2], model(frames[1:], ids[1:, :2]).logits[0])
    assert not both[1, 2:].any()


def test_code_of_the_model_card_says_what_fvlm_caption_says(
    run: StoredRun,
    exported: Path,
    trained: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    [video, *_] = sorted(trained.glob("cache/**/validation/**/*.mp4"))
    code = (exported / "README.md").read_text().split("```python\n")[1].split("```")[0]
    monkeypatch.setattr(sys, "argv", ["card", str(exported), str(video)])
    exec(compile(code, "README.md", "exec"), {})
    said = capsys.readouterr().out
    _, out, _ = run_cli(["caption", str(video), "--run", "tiny"], monkeypatch, capsys)
    assert said == json.loads(out)["caption"] + "\n"
    assert said.strip()


def test_chat_template_gives_the_tokens_trained_on(run: StoredRun, exported: Path) -> None:
    chat = restore(run).chat
    tokenizer = AutoTokenizer.from_pretrained(exported)
    turns = [
        {"role": "user", "content": "Describe the video."},
        {"role": "assistant", "content": "A red card."},
    ]
    ours = [Turn(turn["role"], turn["content"]) for turn in turns]  # pyright: ignore[reportArgumentType]
    prompt = tokenizer.apply_chat_template(turns[:1], add_generation_prompt=True)["input_ids"]
    assert prompt == chat.prompt(ours[:1]).tolist()
    assert tokenizer.apply_chat_template(turns)["input_ids"] == chat.encode(ours).ids.tolist()
    system = [{"role": "system", "content": "Be brief."}, *turns]
    ours = [Turn("system", "Be brief."), *ours]
    assert tokenizer.apply_chat_template(system)["input_ids"] == chat.encode(ours).ids.tolist()
    assert tokenizer.eos_token_id == chat.end_of_turn


def test_model_card_says_what_the_model_is(run: StoredRun, exported: Path) -> None:
    card = (exported / "README.md").read_text()
    assert f"| total | {run.total_params:,} |" in card
    assert "| shapes |  | 32 | 1 |" in card
    best = run.summary["best_val_loss"]
    [low, high] = re.search(rf"{best:.4g} \[([\d.]+), ([\d.]+)\], 95 % over 8 samples", card).groups()  # pyright: ignore[reportOptionalMemberAccess]
    assert float(low) < best < float(high)
    [measured] = ModelCard(card).data.eval_results
    assert measured.metric_value == round(best, 4)
    assert "| steps | 6 of 6 |" in card
    assert "arXiv:2304.07193" in card
    assert ModelCard(card).data.license_name == "to-be-filled-in"
    files = {file.name for file in exported.iterdir()}
    assert files == {
        *("README.md", "config.json", "generation_config.json", "model.safetensors"),
        *("tokenizer.json", "tokenizer_config.json", "processor_config.json"),
        *("modeling_fvlm.py", "processing_fvlm.py", "inputs_fvlm.py"),
    }


def test_unknown_run_is_explained(run: StoredRun, cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("weights", "export", "tinny", "--to", tmp_path / "out")
    assert (code, err) == (2, 'no run folder and no run under runs is called "tinny"; did you mean "tiny"?\n')


def _newer(name: str) -> str:
    for old, new in _TRANSFORMERS_5.items():
        name = name.replace(old, new)
    return name


def _golden_recipe(case: Case, folder: Path) -> Path:
    record = golden.setting(case.tag)
    eye, speaker = (Path(made) for made in golden.architectures(case.tag))
    shutil.copytree(eye, folder / "eye")
    shutil.copytree(speaker, folder / "speaker")
    from_corpus(["few words"]).save(
        folder / "speaker" / "tokenizer.json"
    )  # fewer than its embedding has rows
    depth = "deep" if case.about["deep_query"] else "shallow"
    (folder / "golden.toml").write_text(
        f'[model.encoder]\nname = "dinov2"\nweights = "./eye"\nimage_size = {record["input_image_size"]}\n'
        f'[model.connector]\nname = "foveated"\nquery_dim = {record["query_dim"]}\ndepth = "{depth}"\n'
        f"visual_scale = {record['visual_scale']}\n"
        '[model.llm]\nname = "smollm2"\nweights = "./speaker"\n'
        '[[data.sources]]\nname = "clips"\npath = "nowhere"\n[training]\nsteps = 1\n'
    )
    return folder / "golden.toml"


def _golden_batch(case: Case) -> Batch:
    mask = golden.inputs(case.tag)[case.about["attention_mask"].removeprefix("inputs:")].bool()
    return golden.batch(case.tag, lengths=mask.sum(1))


def _tensors(run: StoredRun) -> dict[str, Tensor]:
    """The weights that `restore` takes."""
    return dict(restore(run).model.state_dict())


def _frames(restored: Restored) -> Tensor:
    side = restored.model.encoder.spec.image_size
    frames = np.random.default_rng(0).integers(0, 256, (4, 3, side, side), dtype=np.uint8)
    assert isinstance(caption(restored, frames, "What is it?", 4), str)
    return torch.from_numpy(frames)
