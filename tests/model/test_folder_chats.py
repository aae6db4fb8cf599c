"""The tokenizer and the chat template that lie beside weights: used or refused, and said either way."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from fvlm_smollm2.config import SmolLM2
from fvlm_smollm2.template import SYSTEM, own_system
from tiny import CONNECTOR, DATA, ENCODER, TRAINING, run_cli, train
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from fvlm_core.model.build import compose
from fvlm_core.plugin_api import Turn
from fvlm_core.recipes.read import read_recipe
from fvlm_core.utils.errors import UsageError

SMOL = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
TURN = "{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}"
BEGIN = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"


def template(system: str | None, turn: str = TURN, begin: str = BEGIN) -> str:
    own = f"<|im_start|>system\n{system}<|im_end|>\n" if system is not None else ""
    return (
        "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}{{ '" + own + "' }}{% endif %}"
        + turn + "{% endfor %}" + begin
    )  # fmt: skip


THOUGHT = "'\n' + ('<think></think>' if m['role'] == 'assistant' else '') + m"
STRANGE = {
    "thoughts before answers": template(None, TURN.replace("'\n' + m", THOUGHT)),
    "no turn begun": template(None, begin=""),
    "a token before the chat": "{{ bos_token }}" + template(None),
    "no new line after turns": template(None, TURN.replace(" + '\n'}}", "}}")),
    "answers in capitals": template(None, TURN.replace("m['content']", "m['content'] | upper")),
    "no system turns": template(None, "{% if m['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + TURN),
    "no template at all": "{% for",
}  # fmt: skip


def folder(shared: Path, to: Path, **settings: Any) -> Path:
    """A tiny random Llama with a ChatML tokenizer, as transformers writes both."""
    tokenizer = Tokenizer.from_file(str(shared / "parity" / "toy_tokenizer.json"))
    rows = tokenizer.get_vocab_size()
    torch.manual_seed(0)
    LlamaForCausalLM(
        LlamaConfig(
            hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            vocab_size=rows, tie_word_embeddings=True, rope_parameters={"rope_type": "default", "rope_theta": 3e3},
        )
    ).save_pretrained(to)  # fmt: skip
    tokenizer.save(str(to / "tokenizer.json"))
    said = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|im_start|>", **settings}
    (to / "tokenizer_config.json").write_text(json.dumps(said))
    return to


def recipe(weights: Path, to: Path, more: str = "") -> Path:
    """A run of that folder."""
    llm = f'[model.llm]\nname = "smollm2"\nweights = "{weights}"\n{more}\n'
    to.write_text('name = "tiny"\n' + ENCODER + CONNECTOR + llm + DATA + TRAINING)
    return to


@pytest.mark.parametrize("system", [None, SMOL, SYSTEM, 'Say "yes".'])
@pytest.mark.parametrize("place", ["config", "list", "file"])
def test_the_template_of_the_folder_gives_the_tokens_trained_on(
    shared: Path, tmp_path: Path, system: str | None, place: str
) -> None:
    own = template(system)
    if place == "file":
        folder(shared, tmp_path)
        (tmp_path / "chat_template.jinja").write_text(own)
    else:
        value = (
            own
            if place == "config"
            else [{"name": "tools", "template": "x"}, {"name": "default", "template": own}]
        )
        folder(shared, tmp_path, chat_template=value)
    config = SmolLM2(weights=str(tmp_path), system=system or "")
    assert config.remarks() == (f"chats are as the chat template of {tmp_path} makes them",)
    form = config.chat(tuple)
    theirs: Any = AutoTokenizer.from_pretrained(tmp_path)
    talk = [("user", "Hi"), ("assistant", "Yes."), ("user", "Why?")]
    ids = theirs.apply_chat_template(
        [{"role": role, "content": text} for role, text in talk], add_generation_prompt=True
    )["input_ids"]
    assert form.prompt([Turn(role, text) for role, text in talk]).tolist() == ids  # pyright: ignore[reportArgumentType]
    plain = SmolLM2(weights=str(tmp_path))
    if system != SYSTEM:
        [said] = plain.remarks()
        assert (
            f"system turn, {json.dumps(system) if system is not None and chr(34) not in system else ''}"
            in said
        )
        assert f'chats here begin with "{SYSTEM}" (llm.system sets it)' in said


@pytest.mark.parametrize("kind", STRANGE)
def test_a_template_of_another_format_is_refused_and_shown(shared: Path, tmp_path: Path, kind: str) -> None:
    folder(shared, tmp_path, chat_template=STRANGE[kind])
    for ask in (lambda: SmolLM2(weights=str(tmp_path)).chat(tuple), SmolLM2(weights=str(tmp_path)).remarks):
        with pytest.raises(
            UsageError, match=rf"{re.escape(str(tmp_path))}/tokenizer_config.json: its chat template"
        ):
            ask()


def of(chat_template: Any) -> bytes:
    return json.dumps({"chat_template": chat_template}).encode()


ENDLESS = "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}"
UNUSABLE: list[tuple[str, bytes, str]] = [
    ("tokenizer_config.json", b"{", "not JSON"),
    ("tokenizer_config.json", b"[]", "expected a table of settings, got list"),
    ("tokenizer_config.json", "{}".encode("utf-16"), "expected a table of settings in UTF-8"),
    ("tokenizer_config.json", of([{"name": "x"}]), r"chat_template\[0\]: expected .* got {\"name\": \"x\"}"),
    ("tokenizer_config.json", of(["x"]), r"chat_template\[0\]: expected .* got \"x\""),
    ("tokenizer_config.json", of({"default": "x"}), "chat_template: expected a text or a list, got dict"),
    ("tokenizer_config.json", of([{"name": "tools", "template": "x"}]), '"default", got "tools"'),
    ("tokenizer_config.json", of("{{ 1/0 }}"), "ZeroDivisionError"),
    ("tokenizer_config.json", of(ENDLESS), "RecursionError"),
    ("chat_template.jinja", b"\xe9", "if it is Latin-1, save it as UTF-8"),
]


@pytest.mark.parametrize(("name", "content", "said"), UNUSABLE)
def test_a_template_that_cannot_be_read_or_run_is_named(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"^{re.escape(str(tmp_path / name))}: .*{said}"):
        own_system(tmp_path)


def test_a_byte_order_mark_is_no_part_of_a_template(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"\xef\xbb\xbf" + template(SMOL).encode())
    assert own_system(tmp_path) == SMOL


def test_a_folder_without_a_template_says_nothing(shared: Path, tmp_path: Path) -> None:
    assert SmolLM2(weights=str(folder(shared, tmp_path))).remarks() == ()


@pytest.mark.parametrize("system", ["", "Be brief.", 'Say "yes" – or \\ "no" 🙂'])
def test_a_system_turn_of_the_recipe_is_in_every_chat_and_in_the_exported_template(
    shared: Path, tmp_path: Path, system: str
) -> None:
    form = SmolLM2(weights=str(folder(shared, tmp_path)), system=system).chat(tuple)
    form.save(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(form.tokenizer_config()))
    theirs: Any = AutoTokenizer.from_pretrained(tmp_path)
    for talk in ([("user", "Hi")], [("system", "S"), ("user", "Hi"), ("assistant", "Yes")]):
        told = [{"role": role, "content": text} for role, text in talk]
        ids = theirs.apply_chat_template(told, add_generation_prompt=talk[-1][0] == "user")["input_ids"]
        turns: Any = [Turn(role, text) for role, text in talk]  # pyright: ignore[reportArgumentType]
        ours = form.prompt(turns) if talk[-1][0] == "user" else form.encode(turns).ids
        assert ours.tolist() == ids


def test_a_tokenizer_with_more_ids_than_rows_is_named(shared: Path, tmp_path: Path) -> None:
    file = folder(shared, tmp_path) / "tokenizer.json"
    made = Tokenizer.from_file(str(file))
    rows = made.get_vocab_size()
    made.add_tokens(["<think>", "</think>"])
    made.save(str(file))
    said = rf"{re.escape(str(file))}: its token ids go up to {rows + 1}, and the embedding has {rows} rows"
    with pytest.raises(UsageError, match=said):
        SmolLM2(weights=str(tmp_path)).chat(tuple)
    seeded = SmolLM2(
        weights="seeded", width=16, mlp=32, depth=1, heads=2, vocabulary=rows, tokenizer=str(tmp_path)
    )
    with pytest.raises(UsageError, match=said):
        seeded.chat(tuple)
    model = read_recipe(str(recipe(tmp_path, tmp_path / "r.toml"))).runs[0].config.model
    with pytest.raises(
        UsageError, match=rf"its tokenizer has {rows + 1} tokens, and the embedding {rows} rows"
    ):
        compose(model, rows + 1, 0)


def test_a_run_says_what_became_of_the_template_and_is_itself_without_the_folder(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FVLM_CACHE", str(tmp_path / "cache"))
    weights = folder(shared, tmp_path / "llm", chat_template=template(SMOL))
    file = recipe(weights, tmp_path / "r.toml", 'size = "tiny"')
    code, out, _ = run_cli(["run", str(file), "--dry-run"], monkeypatch, capsys)
    assert code == 0
    assert f'is used, but for its system turn, "{SMOL}"' in out
    told = train(file, tmp_path / "runs", "training.steps=2").warnings
    assert [text for text in told if f'is used, but for its system turn, "{SMOL}"' in text]
    shutil.rmtree(weights)
    code, _, said = run_cli(
        ["weights", "export", "tiny/tiny", "--runs", str(tmp_path / "runs"), "--to", str(tmp_path / "out")],
        monkeypatch,
        capsys,
    )
    assert code == 0, said
    exported = json.loads((tmp_path / "out" / "config.json").read_text())
    assert exported["architectures_read"]["llm:llm"]["rope_parameters"]["rope_theta"] == 3e3
