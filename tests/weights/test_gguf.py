"""The language model as GGUF: read back by transformers' own reader of it, its logits are the run's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tiny import RECIPE, run_cli, train
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from fvlm_core.hf.export import release
from fvlm_core.runs.store import StoredRun, open_run
from fvlm_core.weights.restore import restore

gguf = pytest.importorskip("gguf", reason="needs the extra gguf")
pytest.importorskip("accelerate", reason="transformers reads GGUF files with it")
pytestmark = pytest.mark.timeout(200)
Cli = Callable[..., tuple[int, str, str]]
TEXTS = ["A red square moves 12 times to the left.", "<|im_start|>user\nWhat moves?<|im_end|>\n"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> StoredRun:
    """A trained run whose tokenizer is byte-level BPE, as SmolLM2's is."""
    folder = tmp_path_factory.mktemp("gguf")
    tokenizer = Tokenizer(models.BPE())
    parts = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(parts)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(TEXTS * 9, trainer)
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(**sizes, num_key_value_heads=2, vocab_size=336, tie_word_embeddings=True)
    LlamaForCausalLM(config).save_pretrained(folder / "llm")
    tokenizer.save(str(folder / "llm" / "tokenizer.json"))
    head, _, rest = RECIPE.partition("[model.llm]")
    data = "[[data.sources]]" + rest.partition("[[data.sources]]")[2]
    (folder / "tiny.toml").write_text(f'{head}[model.llm]\nname = "smollm2"\nweights = "./llm"\n{data}')
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FVLM_CACHE", str(folder / "cache"))
        train(folder / "tiny.toml", folder / "runs")
    return open_run(folder / "runs/tiny/tiny")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    return lambda *arguments: run_cli([str(argument) for argument in arguments], monkeypatch, capsys)


@pytest.mark.parametrize(("more", "near"), [([], 1e-5), (["--int8"], 0.05)], ids=["float32", "int8"])
def test_logits_read_back_are_the_run_s(
    more: list[str], near: float, run: StoredRun, cli: Cli, tmp_path: Path
) -> None:
    code, out, err = cli("weights", "export", run.folder, "--to", tmp_path / "out", "--format", "gguf", *more)
    assert code == 0, err
    assert {Path(line).name for line in out.split()} == {"README.md", "llm.gguf"}
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "out", gguf_file="llm.gguf", dtype=torch.float32)
    llm = restore(run).model.llm
    ids = torch.arange(40)[None] * 7 % 330
    with torch.no_grad():
        ours = llm.logits(llm.hidden(llm.embed(ids)))
        given = theirs(ids).logits
    assert float((ours - given).abs().max() / ours.abs().max()) <= near


def test_the_file_holds_the_tokenizer_and_the_chat_format(run: StoredRun, tmp_path: Path) -> None:
    release(run, tmp_path / "out", form="gguf")
    reader = gguf.GGUFReader(tmp_path / "out/llm.gguf")
    value = lambda key: reader.get_field(key).contents()
    chat = restore(run).chat
    assert value("general.architecture") == "llama"
    assert value("tokenizer.ggml.pre") == "smollm"
    assert value("tokenizer.ggml.eos_token_id") == chat.end_of_turn
    tokens, kinds = value("tokenizer.ggml.tokens"), value("tokenizer.ggml.token_type")
    assert len(tokens) == len(kinds) == 336
    assert tokens[chat.end_of_turn] == "<|im_end|>"
    assert kinds[chat.end_of_turn] == gguf.TokenType.CONTROL
    assert kinds[335] == gguf.TokenType.UNUSED
    assert "<|im_start|>assistant" in value("tokenizer.chat_template")


def test_what_llama_cpp_has_no_words_for_is_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(RECIPE)
    train(tmp_path / "tiny.toml", tmp_path / "runs")
    given = ("weights", "export", "tiny/tiny", "--runs", tmp_path / "runs", "--to", tmp_path / "out")
    code, _, err = cli(*given, "--format", "gguf")
    assert code == 2
    assert "the tokenizer's model: expected BPE, got WordLevel" in err
    assert "--format onnx carries it whole" in err
    assert not (tmp_path / "out").exists()
