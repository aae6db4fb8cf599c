"""Names of the connector's weights in the founding project's published checkpoints, and ours."""

from __future__ import annotations

_OF_ENCODER = (
    "encoder.query_input_proj.",
    "encoder.output_proj.",
)  # there in the encoder, here in the connector
_OF_CONNECTOR = ("q_static", "q_init", "dino_to_llm.", "llm_to_query.")  # there at the top


def our_name(name: str) -> str:
    """The name here of a weight named `name` there: "dino_to_llm.bias" to "connector.dino_to_llm.bias"."""
    if name.startswith(_OF_ENCODER):
        return name.replace("encoder.", "connector.", 1)
    return f"connector.{name}" if name.startswith(_OF_CONNECTOR) else name
