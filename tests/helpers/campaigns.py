"""A campaign that a test can pay for: two sizes that train in a second, three numbers of samples, a law of four
parameters, a pilot of six runs and money for two or three more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tiny import CONNECTOR, DATA, ENCODER, LLM

RECIPE = f"""name = "small"
{ENCODER}{CONNECTOR}{LLM}{DATA}
[training]
samples = 8
batch_size = 4
micro_batch_size = 4
lr = 3e-3
lr_ratio = {{ encoder = 1.0, llm = 1.0 }}
supervise = "answer"
precision = "float32"
threads = 1
workers = 0
[eval]
every = 1000
samples = 8
[[runs]]
id = "a"
[[runs]]
id = "b"
model.llm.width = 24
model.llm.mlp = 48
[[runs]]
id = "blind"
in_fits = false
model.blind = true
model.llm.width = 32
model.llm.mlp = 64
[campaign]
target = {{ N = "1M", D = "10k" }}
budget = 2.4e8
law = "joint-tied"
samples = [4, 8, 16]
seeds = 2
"""


def recipe(folder: Path, text: str = RECIPE) -> Path:
    """Its file."""
    file = folder / "small.toml"
    file.write_text(text)
    return file


def state(root: Path) -> dict[str, Any]:
    """`campaign.json`."""
    return json.loads((root / "small" / "campaign.json").read_text())


def decided(root: Path) -> Any:
    """What must not depend on when, where and how often the campaign was interrupted."""
    found = state(root)
    return {key: found[key] for key in ("settings", "verdict", "rate", "sweep", "rounds", "sizes", "recipe")}
