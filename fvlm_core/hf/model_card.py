"""The model card of an exported model: the README.md that the Hugging Face hub shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from scipy.special import stdtrit

import fvlm_core
from fvlm_core.media.viewing import Viewing, sampling
from fvlm_core.planning.compute import count_parameters
from fvlm_core.recipes.schema import Chosen, Model
from fvlm_core.runs.per_sample_loss import read_scored
from fvlm_core.runs.store import StoredRun
from fvlm_core.utils.pretrained import SEEDED, is_folder
from fvlm_core.weights.restore import Restored
from fvlm_registry import Kind, registry

_USE = {
    "transformers": """\
With PyTorch, transformers and PyAV installed, and nothing else; `trust_remote_code` runs `modeling_fvlm.py` and
`processing_fvlm.py` of this folder, which are short and can be read:

```python
import sys

from transformers import AutoModelForImageTextToText, AutoProcessor

folder, video = sys.argv[1:]  # this folder, a video or a picture
model = AutoModelForImageTextToText.from_pretrained(folder, trust_remote_code=True).eval()
processor = AutoProcessor.from_pretrained(folder, trust_remote_code=True)
inputs = processor(video)  # frames and question as in training; fps=, max_frames=, text=, system= say otherwise
print(processor.decode(model.generate(**inputs)[0]))
```""",
    "onnx": """\
With onnxruntime, tokenizers and PyAV installed, and nothing else:

```sh
python caption_onnx.py clip.mp4
```

`encode.onnx` looks at a frame once, `look.onnx` asks it a query, `step.onnx` is a step of the language model with its
cache, `embed.onnx` its embedding; `settings.json` says how they belong together, and `caption_onnx.py` does it.""",
    "gguf": """\
`llm.gguf` is the language model alone, for llama.cpp: `llama-cli -m llm.gguf`. Of a video it says nothing by itself:
visual tokens of the encoder and the connector, made elsewhere, go in as embeddings before the text.""",
    "fvlm": """\
With fvlm installed:

```python
import sys

import fvlm_core.hf  # registers the architecture with transformers; nothing in this folder is code
from transformers import AutoModel, AutoProcessor

folder, video = sys.argv[1:]  # this folder, a video or a picture
model = AutoModel.from_pretrained(folder).eval()
processor = AutoProcessor.from_pretrained(folder)
inputs = processor(video)  # frames and question as in training; fps=, max_frames=, prompt=, system= say otherwise
print(processor.decode(model.generate(**inputs)[0]))
```""",
}
"""How a folder is used, by the form it was written in."""

_CITATION = """\
```bibtex
@software{fvlm,
  title = {fvlm: the laboratory for small vision-language models},
  author = {{The fvlm authors}},
  version = {VERSION},
}
```"""


def model_card(
    run: StoredRun,
    restored: Restored,
    viewing: Viewing,
    weights: str | None = None,
    form: str = "fvlm",
    numbers: str = "float32",
) -> ModelCard:
    """The card: what the model is made of, what it was trained on and how, how well it did, how to load it, whom to
    cite. form: that the folder is written in, which decides how it is loaded. numbers: what the weights are kept as.

    What nobody but the author can say, licence and intended use, is marked TO BE FILLED IN.
    """
    named = f'"{weights}" (kept beside the run\'s own) ' if weights else ""
    body = [
        f"# {run.recipe}/{run.id}",
        f"A vision-language model for video: {_parts(restored.config.model)}. Weights {named}of step "
        f"{restored.step:,}, {numbers}. Made with fvlm {fvlm_core.__version__}.",
        "## Parameters",
        _parameters(restored),
        "## Data",
        _data(run),
        "## Training",
        _training(run),
        "## Use",
        _USE[form],
        "Frames go in as uint8 RGB `[T, 3, H, W]` and are normalised by the model. Shown in any other way than in "
        "training, it may say something else:",
        _viewing(viewing),
        "## Licence and intended use",
        "**TO BE FILLED IN before publishing**: the licence of these weights, which the licences of the pretrained "
        "weights and of the data limit; what the model is for, and what it must not be used for. It was not tested for "
        "safety or bias.",
        "## Citation",
        "Please cite what this model stands on:",
        "\n".join(f"- {line}" for line in _origins(restored.config.model)),
        _CITATION.replace("VERSION", fvlm_core.__version__),
    ]
    front = f"---\n{_front_matter(run, restored.config.model, form).to_yaml()}\n---\n\n"
    return ModelCard(front + "\n\n".join(body) + "\n")


def _front_matter(run: StoredRun, model: Model, form: str) -> ModelCardData:
    """What the hub reads: bases, data sets and, where it is known, the best validation loss."""
    pretrained = [
        weights
        for chosen in (model.encoder, model.llm)
        if "/" in (weights := getattr(chosen.config, "weights", SEEDED)) and not is_folder(weights)
    ]
    hubs = [hub for source in _sources(run) if (hub := source.get("hub"))]
    best = run.summary.get("best_val_loss")
    validation = run.record.get("resolved", {}).get("data", {}).get("validation", {}).get("name")
    measured = (
        EvalResult(
            task_type="video-text-to-text",
            dataset_type=validation or "held-out",
            dataset_name=validation or "held-out samples of the training data",
            metric_type="loss",
            metric_name="validation loss, nats a token",
            metric_value=round(best, 4),
        )
        if isinstance(best, float) and math.isfinite(best)
        else None
    )
    return ModelCardData(
        license="other",
        license_name="to-be-filled-in",
        library_name={"onnx": "onnx", "gguf": "gguf"}.get(form, "transformers"),
        pipeline_tag="video-text-to-text",
        tags=["fvlm", "video", "vision-language-model"],
        base_model=[*dict.fromkeys(pretrained)] or None,
        datasets=[*dict.fromkeys(hubs)] or None,
        model_name=f"{run.recipe}/{run.id}" if measured else None,
        eval_results=[measured] if measured else None,
    )


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
        ("best validation loss, nats a token", _loss(run)),
        ("reached at step", _number(summary.get("best_val_step"))),
        ("hours", _number(summary.get("wall_time_hours"))),
        ("energy and carbon", "not recorded"),
        ("samples that could not be read", _number(len(summary.get("bad_samples", {})))),
    ]
    return _table(("", ""), rows)


def _loss(run: StoredRun) -> str:
    """The best validation loss, with its interval over the validation samples where theirs were kept: 95 %, of a ratio
    estimator (Cochran 1977, 6.3), by Student's t."""
    best, step = run.summary.get("best_val_loss"), run.summary.get("best_val_step")
    samples = read_scored(run.folder, step) if step is not None else None
    said = _number(best)
    if best is None or samples is None or len(samples) < 2:
        return said
    losses, tokens = (np.array([getattr(one, name) for one in samples], float) for name in ("loss", "tokens"))
    parts = (losses - best * tokens) / tokens.sum()
    count = len(parts)
    half = float(stdtrit(count - 1, 0.975)) * float(np.sqrt(count / (count - 1) * (parts**2).sum()))
    if not math.isfinite(half):
        return said
    return f"{said} [{best - half:.4g}, {best + half:.4g}], 95 % over {count:,} samples; of one seed"


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
