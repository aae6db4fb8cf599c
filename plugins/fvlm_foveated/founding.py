"""Weight names of the founding project's published checkpoints, and ours."""

from __future__ import annotations

_OF_ATTENTION = {
    "attention.attention.query.": "attention.q_proj.",
    "attention.attention.key.": "attention.k_proj.",
    "attention.attention.value.": "attention.v_proj.",
    "attention.output.dense.": "attention.o_proj.",
}
_OF_ENCODER = (
    "encoder.query_input_proj.",
    "encoder.output_proj.",
)  # there in the encoder, here in the connector
_OF_CONNECTOR = ("q_static", "q_init", "dino_to_llm.", "llm_to_query.")


def our_name(name: str) -> str:
    """The name here of a weight named `name` there: "dino_to_llm.bias" to "connector.dino_to_llm.bias".

    There DINOv2's attention has the names of transformers 4, and the connector's weights lie at the top or in the
    encoder. `llm.lm_head.weight`, where present, is the tied embedding again and has no counterpart.
    """
    if name.startswith(_OF_ENCODER):
        return name.replace("encoder.", "connector.", 1)
    if name.startswith(_OF_CONNECTOR):
        return f"connector.{name}"
    for there, here in _OF_ATTENTION.items():
        name = name.replace(there, here)
    return name
