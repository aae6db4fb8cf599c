"""What a recipe says of a SmolLM2 or any other Llama-architecture model. Imports nothing heavy."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attrs import evolve, field, fields, frozen, validators

from fvlm_core.plugin_api import (
    ACTIVATION,
    COUNT,
    FLAG,
    POSITIVE,
    SEEDED,
    TABLE,
    LLMSpec,
    MissingWeights,
    Problem,
    Problems,
    UsageError,
    architecture,
    check_architecture,
    check_heads,
    check_kinds,
    pretrained_folder,
)
from fvlm_smollm2.template import SYSTEM, own_system

if TYPE_CHECKING:
    from fvlm_smollm2.chat import ChatML

FROM_DATA = "from-data"
"""In place of a hub id or a folder: a word-level tokenizer made from the training texts."""

_SMALL = 128
"""Width up to which random weights are small enough to rehearse with as they are."""

_positive = validators.optional(validators.ge(1))


@frozen(kw_only=True)
class SmolLM2:
    """A SmolLM2 model.

    weights: a hub id ("HuggingFaceTB/SmolLM2-135M-Instruct"), a folder, or "seeded" for random weights.
    width, mlp, depth, heads, kv_heads: channels, inner width of the gated MLP, layers, attention heads, key/value
    heads (default: as many as heads); needed with seeded weights. Pretrained weights are what their `config.json` says;
    what the recipe or the name of a `smollm2-SIZE` component says must agree with it.
    vocabulary: rows of the embedding; with a tokenizer from the data it is that tokenizer's.
    tied: whether the embedding is the head as well; default: what the weights say, and yes if they are seeded.
    tokenizer: a hub id, a folder, or "from-data"; default: where the weights are, "from-data" if they are seeded.
    system: the system turn of chats that have none, in place of the one that a chat template beside the weights may
    give; empty: no such turn.
    rope_base, norm_eps, positions: rotary base, epsilon of the norms, longest sequence; for seeded weights.
    size: label of tables and plots.
    checkpoint_activations: recompute each layer in the backward pass instead of keeping its activations.
    """

    weights: str = field(validator=validators.min_len(1))
    width: int | None = field(default=None, validator=_positive)
    mlp: int | None = field(default=None, validator=_positive)
    depth: int | None = field(default=None, validator=_positive)
    heads: int | None = field(default=None, validator=_positive)
    kv_heads: int | None = field(default=None, validator=_positive)
    vocabulary: int | None = field(default=None, validator=_positive)
    tied: bool | None = None
    tokenizer: str = ""
    system: str = SYSTEM
    rope_base: float = field(default=100_000.0, validator=[validators.gt(1), validators.lt(math.inf)])
    norm_eps: float = field(default=1e-5, validator=[validators.gt(0), validators.lt(math.inf)])
    positions: int = field(default=8192, validator=validators.ge(1))
    size: str = ""
    checkpoint_activations: bool = False

    def __attrs_post_init__(self) -> None:
        if self.weights == SEEDED:
            missing = [name for name in ("width", "mlp", "depth", "heads") if getattr(self, name) is None]
            if missing:
                raise ValueError(f'{", ".join(missing)}: needed with weights = "{SEEDED}"')
        elif self.tokenizer == FROM_DATA:
            raise ValueError(
                f'tokenizer: "{FROM_DATA}" needs weights = "{SEEDED}": embeddings belong to their tokens'
            )
        if self.width and self.heads and self.width % (2 * self.heads):
            raise ValueError(
                f"width: expected a multiple of 2 x heads = {2 * self.heads} (rotary positions pair channels), "
                f"got {self.width}"
            )
        if self.heads and self.kv_heads and self.heads % self.kv_heads:
            raise ValueError(f"kv_heads: expected a divisor of heads = {self.heads}, got {self.kv_heads}")

    def spec(self) -> LLMSpec:
        """The model's sizes, from the recipe or from `config.json`. Raises `MissingWeights`, `Problems`."""
        sizes = self.sizes()
        from_data = self._tokenizer() == FROM_DATA
        return LLMSpec(
            width=sizes["hidden_size"],
            mlp=sizes["intermediate_size"],
            depth=sizes["num_hidden_layers"],
            heads=sizes["num_attention_heads"],
            kv_heads=sizes["num_key_value_heads"] or sizes["num_attention_heads"],
            vocabulary=None if from_data else sizes["vocab_size"],
            positions=sizes["max_position_embeddings"],
            tied=sizes["tie_word_embeddings"],
            size=self.size,
            head_width=sizes.get("head_dim"),
            recompute=self.checkpoint_activations,
        )

    def chat_settings(self) -> object:
        """What `chat` depends on beside the corpus: sizes are nothing to a tokenizer made from the data."""
        return (FROM_DATA, self.system) if self._tokenizer() == FROM_DATA else self

    def chat(self, corpus: Callable[[], Iterable[str]], file: Path | None = None) -> ChatML:
        """The chat format with this model's tokenizer; see `Chat`.

        Raises `MissingWeights` when a published tokenizer is not on this machine, and `UsageError` for one of another
        model, or beside a chat template that is not ChatML.
        """
        from fvlm_smollm2 import chat

        name = self._tokenizer()
        if file is None and name == FROM_DATA:
            return chat.from_corpus(corpus(), self.system)
        if file is None:
            folder = pretrained_folder(name, needs="tokenizer.json")
            own_system(folder)
            file = folder / "tokenizer.json"
        made = chat.load(file, self.system)
        rows = self.spec().vocabulary
        if rows is not None and made.vocabulary > rows:
            raise UsageError(
                f"{file}: its token ids go up to {made.vocabulary - 1:,}, and the embedding has {rows:,} rows "
                f"(vocab_size of {self.weights}); expected the tokenizer of these weights, or weights whose embedding "
                "was made longer with it: model.resize_token_embeddings(len(tokenizer)) of transformers"
            )
        return made

    def remarks(self) -> tuple[str, ...]:
        """What becomes of the chat template that lies beside the tokenizer; nothing where there is none. Raises as
        `chat`."""
        name = self._tokenizer()
        try:
            own = None if name == FROM_DATA else own_system(pretrained_folder(name, needs="tokenizer.json"))
        except MissingWeights:
            return ()
        if own is None:
            return ()
        if own == self.system:
            return (f"chats are as the chat template of {name} makes them",)
        return (
            f"the chat template of {name} is used, but for its system turn, {_quoted(own)}: chats here begin with "
            f"{_quoted(self.system)} (llm.system sets it)",
        )

    def rehearsal(self) -> SmolLM2:
        """A small one for rehearsals: as many heads, in the same groups, 4 channels each; two layers; random weights,
        and a tokenizer from the data."""
        sizes = self.sizes()
        width, heads = sizes["hidden_size"], sizes["num_attention_heads"]
        if self.weights == SEEDED and width <= _SMALL:
            return evolve(self, tokenizer=FROM_DATA, vocabulary=None)
        return evolve(
            self,
            weights=SEEDED,
            width=4 * heads,
            mlp=4 * heads * sizes["intermediate_size"] // width,
            depth=2,
            heads=heads,
            kv_heads=sizes["num_key_value_heads"] or heads,
            vocabulary=None,
            tokenizer=FROM_DATA,
        )

    def portable(self) -> dict[str, Any]:
        """What a model folder that needs no fvlm says of this language model; see `fvlm_core.hf.portable`."""
        return {"type": "llama", "config": self.sizes(), "chat": "chatml", "system": self.system}

    def sizes(self) -> dict[str, Any]:
        """Arguments of transformers' `LlamaConfig`; `vocab_size` is None while it waits for a tokenizer.

        Raises `MissingWeights`, `Problems`.
        """
        stated: dict[str, Any] = {
            "hidden_size": self.width,
            "intermediate_size": self.mlp,
            "num_hidden_layers": self.depth,
            "num_attention_heads": self.heads,
            "vocab_size": self.vocabulary,
        }
        given = {
            **stated,
            "num_key_value_heads": self.kv_heads,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_base},
            "rms_norm_eps": self.norm_eps,
            "max_position_embeddings": self.positions,
            "tie_word_embeddings": self.tied is not False,
        }
        if self.weights == SEEDED:
            return given
        for name, key in _WITH_DEFAULT.items():
            if getattr(self, name) != getattr(fields(SmolLM2), name).default:
                stated[key] = getattr(self, name)
        config = architecture(self.weights, model_type="llama", needed=None in stated.values())
        if not config:
            return given
        check_kinds(self.weights, config, _KINDS)
        rope = config.get("rope_parameters") or config
        found = {**_LEFT_OUT, **config, "rope_theta": rope.get("rope_theta", _LEFT_OUT["rope_theta"])}
        check_architecture(self.weights, found, stated, _FIXED, "smollm2")
        _check(self.weights, config)
        known = {key: value for key, value in config.items() if key in _ARCHITECTURE}
        return {**{key: _LEFT_OUT[key] for key in _SPEC}, **known}

    def _tokenizer(self) -> str:
        """Where the tokenizer comes from."""
        return self.tokenizer or (FROM_DATA if self.weights == SEEDED else self.weights)


def _check(weights: str, config: dict[str, Any]) -> None:
    """Raise `Problems` for values of a `config.json` that no Llama has beside its others."""
    check_heads(weights, config)
    where, wrong = f"config.json of {weights}", list[Problem]()
    heads, kv_heads = config.get("num_attention_heads"), config.get("num_key_value_heads")
    if heads and kv_heads and heads % kv_heads:
        text = f"{where} says {kv_heads}, expected a divisor of num_attention_heads = {heads}"
        wrong.append(Problem(text, key="num_key_value_heads"))
    channels = config.get("head_dim") or (
        config["hidden_size"] // heads if heads and config.get("hidden_size") else 2
    )
    if channels % 2:
        text = f"{where} says {channels} channels a head, expected an even number: rotary positions pair them"
        wrong.append(Problem(text, key="head_dim"))
    for table in ("rope_parameters", "rope_scaling"):
        rope = config.get(table) or {}
        kind = rope.get("rope_type", rope.get("type", "default"))
        needed = _SCALED.get(kind, ()) if isinstance(kind, str) else ()
        for key in dict.fromkeys(("rope_theta", *needed)):
            value = rope.get(key)
            if (value is not None or key in needed) and not POSITIVE[0](value):
                got = json.dumps(value) if key in rope else "nothing"
                text = f'{where} says {got}, expected {POSITIVE[1]} with rope_type "{kind}"'
                wrong.append(Problem(text, key=f"{table}.{key}"))
    if config.get("max_position_embeddings", 1) is None:
        text = f"{where} says null, expected a whole number from 1, or no such key"
        wrong.append(Problem(text, key="max_position_embeddings"))
    rope = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if rope.get("rope_theta", config.get("rope_theta", 1)) is None:
        text = f"{where} says null, expected {POSITIVE[1]}, or no such key"
        wrong.append(Problem(text, key="rope_theta"))
    if wrong:
        raise Problems(wrong)


def _quoted(system: str) -> str:
    return f'"{system}"' if system else "none"


_ARCHITECTURE = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *(
        "vocab_size",
        "rms_norm_eps",
        "max_position_embeddings",
        "tie_word_embeddings",
        "hidden_act",
        "head_dim",
    ),
    *("rope_parameters", "rope_theta", "rope_scaling", "attention_bias", "mlp_bias"),
)
"""Keys of `config.json` that decide what the model computes."""

_COUNTS = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads"),
    *("vocab_size", "max_position_embeddings", "head_dim"),
)

_KINDS = {
    **dict.fromkeys(_COUNTS, COUNT),
    "rms_norm_eps": POSITIVE,
    "rope_theta": (lambda value: value is None or POSITIVE[0](value), POSITIVE[1]),  # null: see `_check`
    **dict.fromkeys(("tie_word_embeddings", "attention_bias", "mlp_bias"), FLAG),
    **dict.fromkeys(("rope_parameters", "rope_scaling"), TABLE),
    "hidden_act": ACTIVATION,
}
"""What the values of those keys must be."""

_SCALED = {
    "linear": ("factor",),
    "yarn": ("factor",),
    "llama3": ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"),
}
"""Numbers that a kind of rotary positions needs."""

_LEFT_OUT = {
    "num_key_value_heads": None,
    "max_position_embeddings": 2048,
    "tie_word_embeddings": False,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
}
"""What transformers takes for keys that a `config.json` leaves out."""

_SPEC = ("num_key_value_heads", "max_position_embeddings", "tie_word_embeddings")

_WITH_DEFAULT = {
    "tied": "tie_word_embeddings",
    "kv_heads": "num_key_value_heads",
    "rope_base": "rope_theta",
    "norm_eps": "rms_norm_eps",
    "positions": "max_position_embeddings",
}
"""Fields that say nothing of pretrained weights while they are at their default, and what `config.json` calls them."""

_FIXED = {"attention_dropout": 0.0, "quantization_config": None}
"""Keys that can have only this value: nothing here drops activations, and weights are float32."""
