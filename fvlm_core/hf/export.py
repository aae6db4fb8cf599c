"""A trained model as a Hugging Face folder: what people publish, and `AutoModel` restores."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

from transformers import GenerationConfig, LlamaConfig

import fvlm_core
from fvlm_core.hf import FvlmConfig, FvlmModel, gguf, onnx
from fvlm_core.hf.model_card import model_card
from fvlm_core.hf.portable import config_fields, portable, shown, standalone, write_code, write_processor
from fvlm_core.model.lora import merge
from fvlm_core.recipes.resolved import plain
from fvlm_core.recipes.schema import Model
from fvlm_core.runs.store import ARCHITECTURES, TOKENIZER, StoredRun
from fvlm_core.utils.atomic_files import empty_folder, usual_modes, write_json
from fvlm_core.utils.pretrained import SEEDED, is_folder, known_architectures
from fvlm_core.weights.restore import Restored, restore

LONGEST_ANSWER = 128

Form = Literal["transformers", "onnx", "gguf", "fvlm"]
"""`transformers`: with the code of the model, for those who have no fvlm; `onnx`: graphs, for those who have no PyTorch
either; `gguf`: the language model alone, for llama.cpp; `fvlm`: any model, for those who have fvlm."""

_LIBRARIES = {"onnx": onnx.LIBRARIES, "gguf": gguf.LIBRARIES}


def release(
    run: StoredRun,
    to: Path,
    weights: str | None = None,
    form: Form = "transformers",
    *,
    int8: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Write the model of a run, with the weights of its best checkpoint, into the folder `to`; the files written.

    tokenizer.json, README.md (the model card) and, in the forms "transformers" and "fvlm", config.json (with how the
    model was shown things in training), model.safetensors (float32, LoRA's factors merged), tokenizer_config.json,
    generation_config.json; in "transformers" processor_config.json and the code as well; in "onnx" the graphs, as 8-bit
    integers with `int8`, settings.json and the code; in "gguf" llm.gguf and the card alone. weights: see `restore`.
    note: is told what people should know. Raises `UsageError` when `to` is not empty, the run has no complete
    checkpoint, or the form cannot carry the model.
    """
    empty_folder(to)
    for module in _LIBRARIES.get(form, ()):
        import_module(module)  # what is not installed is said before any work is done
    restored = restore(run, weights=weights)
    known = run.record.get(ARCHITECTURES, {})
    with known_architectures(dict(known)):
        carried = portable(restored.config.model, form) if form != "fvlm" else None
    merge(restored.model)
    viewing = restored.viewing
    if carried and form == "gguf":
        return _release_gguf(run, restored, carried["llm"], to, weights, int8)
    config = _config(run, restored, weights, carried)
    to.mkdir(parents=True, exist_ok=True)
    if carried and form == "onnx":
        settings = onnx.write_graphs(standalone(config, restored), to, int8, note)
        write_code(to, onnx.CODE)
        end = {"end": restored.chat.end_of_turn, "limit": LONGEST_ANSWER}
        write_json(to / "settings.json", {**settings, **end, "shown": shown(viewing, carried["llm"])})
    elif carried:
        standalone(config, restored).save_pretrained(to)
        write_code(to)
        write_processor(to, viewing, carried["llm"])
    else:
        FvlmModel(config, restored.model).save_pretrained(to)
    restored.chat.save(to / TOKENIZER)
    if form != "onnx":
        tokenizer = {
            **restored.chat.tokenizer_config(),
            "model_max_length": restored.model.llm.spec.positions,
        }
        write_json(to / "tokenizer_config.json", tokenizer)
        GenerationConfig(
            do_sample=False, eos_token_id=restored.chat.end_of_turn, max_new_tokens=LONGEST_ANSWER
        ).save_pretrained(to)
    model_card(run, restored, viewing, weights, form, _numbers(int8)).save(to / "README.md")
    usual_modes(to)
    return sorted(to.iterdir())


def _numbers(int8: bool) -> str:
    return "matrices as 8-bit integers; losses are those of the float32 weights" if int8 else "float32"


def _release_gguf(
    run: StoredRun, restored: Restored, llm: dict[str, Any], to: Path, weights: str | None, int8: bool
) -> list[Path]:
    """The language model alone."""
    chat, model = restored.chat, restored.model
    with TemporaryDirectory() as folder:
        chat.save(Path(folder) / TOKENIZER)
        tokenizer = gguf.read_tokenizer(Path(folder) / TOKENIZER)
    pre = gguf.check(llm["config"], tokenizer, model.logit_scale)
    to.mkdir(parents=True, exist_ok=True)
    rows = model.llm.spec.vocabulary
    gguf.write_gguf(
        to / gguf.FILE,
        LlamaConfig.from_dict({**llm["config"], "vocab_size": rows}),
        model.llm.state_dict(),
        tokenizer,
        pre,
        name=f"{run.recipe}/{run.id}",
        end=chat.end_of_turn,
        template=chat.tokenizer_config()["chat_template"],
        int8=int8,
    )
    model_card(run, restored, restored.viewing, weights, "gguf", _numbers(int8)).save(to / "README.md")
    usual_modes(to)
    return sorted(to.iterdir())


def _config(
    run: StoredRun, restored: Restored, weights: str | None, carried: dict[str, dict[str, Any]] | None
) -> FvlmConfig:
    known = run.record.get(ARCHITECTURES, {})
    composition, read = _described(restored.config.model, run.record["resolved"]["model"], known)
    return FvlmConfig(
        composition=composition,
        architectures_read=read,
        viewing=plain(restored.viewing),
        vocab_size=restored.model.llm.spec.vocabulary or restored.chat.vocabulary,
        logit_scale=restored.model.logit_scale,
        eos_token_id=restored.chat.end_of_turn,
        fvlm_version=fvlm_core.__version__,
        run={
            "recipe": run.recipe,
            "id": run.id,
            "step": restored.step,
            **({"weights": weights} if weights else {}),
        },
        **(config_fields(carried, restored) if carried else {}),
    )


def _described(
    model: Model, table: dict[str, Any], known: dict[str, dict[str, Any]]
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """The recipe's table `model`, and the architectures it takes from files, so that it can be read elsewhere. known:
    those that the run's record has.

    Folders of this machine become names: their paths mean nothing on another.
    """
    parts = {"encoder": model.encoder.config, "llm": model.llm.config}
    composition, architectures = dict(table), {}
    for part, config in parts.items():
        weights = table[part].get("weights")
        read = {weights: known[weights]} if weights in known else {}
        with known_architectures(read):
            config.spec()
        if weights is not None and weights != SEEDED and is_folder(weights):
            name = f"{part}:{Path(weights).name}"
            composition[part] = {**table[part], "weights": name}
            read = {name: read[weights]} if weights in read else {}
        architectures |= read
        tokenizer = table[part].get("tokenizer")
        if tokenizer and is_folder(tokenizer):  # it is in the exported folder
            composition[part] = {**composition[part], "tokenizer": ""}
    return composition, architectures
