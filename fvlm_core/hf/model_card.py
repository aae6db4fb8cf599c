"""The model card of an exported model: the README.md that the Hugging Face hub shows."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import fvlm_core
from fvlm_core.media.viewing import Viewing, sampling
from fvlm_core.planning.compute import count_parameters
from fvlm_core.recipes.schema import Chosen, Model
from fvlm_core.runs.store import StoredRun
from fvlm_core.utils.pretrained import SEEDED, is_folder
from fvlm_core.weights.restore import Restored
from fvlm_registry import Kind, registry

_USE = """\
```python
import sys

import fvlm_core.hf  # registers the architecture with transformers; nothing in this folder is code
from transformers import AutoModel, AutoProcessor

folder, video = sys.argv[1:]  # this folder, a video or a picture
model = AutoModel.from_pretrained(folder).eval()
processor = AutoProcessor.from_pretrained(folder)
inputs = processor(video)  # frames and question as in training; fps=, max_frames=, prompt=, system= say otherwise
print(processor.decode(model.generate(**inputs)[0]))
```"""

_CITATION = """\
```bibtex
@software{fvlm,
  title = {fvlm: the laboratory for small vision-language models},
  author = {{The fvlm authors}},
  version = {VERSION},
}
```"""


def model_card(run: StoredRun, restored: Restored, viewing: Viewing, weights: str | None = None) -> str:
    """The card's Markdown: what the model is made of, what it was trained on and how, how to load it, whom to cite.

    What nobody but the author can say, licence and intended use, is marked TO BE FILLED IN.
    """
    named = f'"{weights}" (kept beside the run\'s own) ' if weights else ""
    return (
        "\n\n".join(
            [
                _front_matter(run, restored.config.model),
                f"# {run.recipe}/{run.id}",
                f"A vision-language model for video: {_parts(restored.config.model)}. Weights {named}of step "
                f"{restored.step:,}, float32. Made with fvlm {fvlm_core.__version__}.",
                "## Parameters",
                _parameters(restored),
                "## Data",
                _data(run),
                "## Training",
                _training(run),
                "## Use",
                "With fvlm installed:",
                _USE,
                "Frames go in as uint8 RGB `[T, 3, H, W]` and are normalised by the model. Shown in any other way than "
                "in training (`viewing` in config.json), it may say something else:",
                _viewing(viewing),
                "## Licence and intended use",
                "**TO BE FILLED IN before publishing**: the licence of these weights, which the licences of the "
                "pretrained weights and of the data limit; what the model is for, and what it must not be used for. "
                "It was not tested for safety or bias.",
                "## Citation",
                "Please cite what this model stands on:",
                "\n".join(f"- {line}" for line in _origins(restored.config.model)),
                _CITATION.replace("VERSION", fvlm_core.__version__),
            ]
        )
        + "\n"
    )


def _front_matter(run: StoredRun, model: Model) -> str:
    """The YAML that the hub reads."""
    lines = [
        "---",
        "license: other  # TO BE FILLED IN",
        "library_name: transformers",
        "pipeline_tag: video-text-to-text",
        "tags: [fvlm, video, vision-language-model]",
    ]
    pretrained = [
        weights
        for chosen in (model.encoder, model.llm)
        if "/" in (weights := getattr(chosen.config, "weights", SEEDED)) and not is_folder(weights)
    ]
    hubs = [hub for source in _sources(run) if (hub := source.get("hub"))]
    for key, values in (("base_model", pretrained), ("datasets", hubs)):
        if values:
            lines += [f"{key}:", *(f"- {value}" for value in dict.fromkeys(values))]
    return "\n".join([*lines, "---"])


def _parts(model: Model) -> str:
    chosen = (("encoder", model.encoder), ("connector", model.connector), ("language model", model.llm))
    return ", ".join(f"{kind} `{part.component}`" for kind, part in chosen)


def _parameters(restored: Restored) -> str:
    counts = count_parameters(restored.model)
    rows = [(name, f"{count:,}") for name, count in counts.components.items()]
    return _table(("component", "parameters"), [*rows, ("total", f"{counts.total:,}")])


def _data(run: StoredRun) -> str:
    if "imported" in run.record:
        return "These weights were imported; what they were trained on is not recorded here. TO BE FILLED IN."
    listed = run.record["data"]["train"]
    rows = [
        (entry["source"], source.get("hub") or "", f"{entry['samples']:,}", _weight(source))
        for source, entry in zip(_sources(run), listed, strict=True)
    ]
    return _table(("source", "hub id", "samples", "weight"), rows)


def _viewing(viewing: Viewing) -> str:
    rows = [
        ("frames of a video", sampling(viewing.fps, viewing.max_frames)),
        ("side of a frame, pixels", str(viewing.size)),
        ("a picture", f"{viewing.fit}, as {viewing.repeats} frame{'s' if viewing.repeats > 1 else ''}"),
        ("question", viewing.prompt),
        *(
            [("question about a picture", viewing.picture_prompt)]
            if viewing.picture_prompt != viewing.prompt
            else []
        ),
        ("system turn", viewing.system or "the chat format's own"),
        ("as in the data", viewing.source or "not recorded; these are defaults"),
    ]
    return _table(("shown", ""), [(name, text.replace("|", "\\|").replace("\n", " ")) for name, text in rows])


def _training(run: StoredRun) -> str:
    origin = run.record.get("imported")
    if origin is not None:
        said = "".join(f", {key} {origin[key]}" for key in ("step", "metric_value") if key in origin)
        return f"Imported from `{origin['file']}` ({origin['layout']}{said}), SHA-256 `{origin['sha256']}`."
    summary, training = run.summary, run.record["resolved"]["training"]
    rows = [
        ("samples", _number(summary.get("total_samples"))),
        ("steps", f"{_number(summary.get('total_steps'))} of {_number(run.record['steps'])}"),
        ("samples a step", _number(training["batch_size"])),
        ("learning rate of the connector", str(training["lr"])),
        ("schedule", training["schedule"]),
        ("loss on", f"{training['supervise']} text tokens"),
        ("precision", training["precision"]),
        ("seed", str(run.record["seed"])),
        ("training FLOPs a sample", _number(run.record["flops_per_sample"])),
        ("best validation loss, nats a token", _number(summary.get("best_val_loss"))),
        ("reached at step", _number(summary.get("best_val_step"))),
        ("hours", _number(summary.get("wall_time_hours"))),
        ("samples that could not be read", _number(len(summary.get("bad_samples", {})))),
    ]
    return _table(("", ""), rows)


def _origins(model: Model) -> list[str]:
    """What each component's package says it is, with its source."""
    found = registry()
    lines: list[str] = []
    parts: tuple[tuple[Kind, Chosen], ...] = (
        ("encoder", model.encoder),
        ("connector", model.connector),
        ("llm", model.llm),
    )
    for kind, chosen in parts:
        target = found.find(kind, chosen.component).component.target
        package = import_module(target.partition(":")[0].partition(".")[0])
        lines.append((package.__doc__ or package.__name__).strip().splitlines()[0])
    return list(dict.fromkeys(lines))


def _sources(run: StoredRun) -> list[dict[str, Any]]:
    """The tables of all sources of the mixture, the text last."""
    data = run.record["resolved"]["data"]
    return [*data["sources"], *([data["text"]] if "text" in data else [])]


def _weight(source: dict[str, Any]) -> str:
    return f"{source['weight']:g}" if "weight" in source else f"{100 * source['share']:g} % of all"


def _number(value: float | None) -> str:
    if value is None:
        return "not recorded"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
