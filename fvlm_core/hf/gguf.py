"""The language model of a trained model as a GGUF file, which llama.cpp reads: text alone, or with visual tokens that
somebody makes elsewhere, as embeddings in front of it.

Names of tensors and keys: the `gguf` package (ggml-org/llama.cpp). Queries and keys have their channels in another
order there: rotary pairs lie beside each other, not half a head apart.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.listing import lines

LIBRARIES = ("gguf",)
"""What the export needs beyond fvlm: the extra `gguf`."""

FILE = "llm.gguf"

_DIGITS = {"type": "Digits", "individual_digits": True}
_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def check(config: Mapping[str, Any], tokenizer: Mapping[str, Any], logit_scale: float) -> str:
    """llama.cpp's name for the pre-tokenizer. config: arguments of transformers' `LlamaConfig`. tokenizer: the content
    of `tokenizer.json`. Raises `UsageError` that names everything that a GGUF file of a Llama cannot hold."""
    rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
    kind, pre = rope.get("rope_type", rope.get("type", "default")), _pre(tokenizer)
    wrong = [
        f"{what}: expected {expected}, got {got}"
        for what, expected, got, right in (
            ("the tokenizer's model", "BPE", tokenizer["model"]["type"], tokenizer["model"]["type"] == "BPE"),
            ("the tokenizer's pre-tokenizer", "that of SmolLM2 or of GPT-2", "another", pre is not None),
            ("rope_type", "default", kind, kind == "default"),
            ("hidden_act", "silu", config.get("hidden_act"), config.get("hidden_act", "silu") == "silu"),
            ("the factor on the logits", "1", logit_scale, logit_scale == 1),
        )
        if not right
    ]
    if wrong:
        raise UsageError(
            lines(["--format gguf: llama.cpp has no words for this language model", *wrong])
            + "\n--format onnx carries it whole"
        )
    assert pre is not None
    return pre


def write_gguf(
    file: Path,
    config: Any,
    weights: Mapping[str, Tensor],
    tokenizer: Mapping[str, Any],
    pre: str,
    *,
    name: str,
    end: int,
    template: str,
    int8: bool,
) -> None:
    """config: a `LlamaConfig`. weights: by transformers' names ("model.…", "lm_head.weight"). pre: see `check`. end:
    the id that ends a turn. int8: matrices as Q8_0, 8-bit integers with a scale for each 32; else float32."""
    import gguf

    writer: Any = gguf.GGUFWriter(file, "llama")
    heads, width = config.num_attention_heads, config.hidden_size
    head = getattr(config, "head_dim", None) or width // heads
    writer.add_name(name)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(width)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0 if int8 else gguf.LlamaFileType.ALL_F32)
    _add_tokenizer(writer, tokenizer, pre, config.vocab_size)
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_chat_template(template)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for theirs, tensor in weights.items():
        turned = {"q_proj": heads, "k_proj": config.num_key_value_heads}.get(theirs.split(".")[-2])
        values = _in_pairs(tensor, turned) if turned else tensor.detach().float().numpy()
        ours = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
        if int8 and values.ndim == 2 and values.shape[1] % 32 == 0:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(ours, gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(ours, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _in_pairs(tensor: Tensor, heads: int) -> NDArray[np.float32]:
    """Rows (heads x head width) with the two halves of every head taken in turn."""
    split = tensor.detach().float().unflatten(0, (heads, 2, -1))
    return torch.transpose(split, 1, 2).flatten(0, 2).contiguous().numpy()


def _add_tokenizer(writer: Any, tokenizer: Mapping[str, Any], pre: str, rows: int) -> None:
    import gguf

    added = {token["id"]: token for token in tokenizer["added_tokens"]}
    known = {id: text for text, id in tokenizer["model"]["vocab"].items()}
    known |= {id: token["content"] for id, token in added.items()}
    kinds: list[int] = []
    for id in range(rows):
        kind = gguf.TokenType.NORMAL if id in known else gguf.TokenType.UNUSED
        if id in added:
            kind = gguf.TokenType.CONTROL if added[id]["special"] else gguf.TokenType.USER_DEFINED
        kinds.append(int(kind))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list([known.get(id, f"[PAD{id}]") for id in range(rows)])
    writer.add_token_types(kinds)
    pairs = tokenizer["model"]["merges"]
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in pairs])


def _pre(tokenizer: Mapping[str, Any]) -> str | None:
    """What llama.cpp calls a byte-level pre-tokenizer: None for one that is none of those known here."""
    found = tokenizer.get("pre_tokenizer") or {}
    parts = found.get("pretokenizers", [found])
    plain = [{key: one.get(key, _BYTES.get(key)) for key in one} for one in parts]
    if tokenizer.get("normalizer") is not None:
        return None
    if plain == [_DIGITS, _BYTES]:
        return "smollm"
    return "gpt-2" if plain == [_BYTES] else None


def read_tokenizer(file: Path) -> dict[str, Any]:
    """The content of a `tokenizer.json` that was just written."""
    return json.loads(file.read_text(encoding="utf-8"))
