"""Where pretrained weights are: a folder, or the Hugging Face cache of this machine. Nothing is ever downloaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from math import inf
from pathlib import Path
from typing import Any

from fvlm_core.utils.data_files import NOTES, check_data, read_data
from fvlm_core.utils.errors import MissingWeights, Problem, Problems, UsageError
from fvlm_core.utils.paths import user_path

SEEDED = "seeded"
"""In place of a hub id or a folder: random weights drawn from the run's seed. Always asked for by name."""

PREPROCESSOR = "preprocessor_config.json"
"""The file beside the weights of a vision model that says how its pictures are made."""

_KNOWN: ContextVar[dict[str, dict[str, Any]] | None] = ContextVar("known architectures", default=None)


def is_folder(weights: str) -> bool:
    """Whether `weights` names a folder ("/data/x", "./x", "~/x", or any that exists) rather than a hub id."""
    return weights.startswith(("/", ".", "~")) or Path(weights).is_dir()


def pretrained_folder(weights: str, *, needs: str = "*.safetensors") -> Path:
    """The local folder of `weights` (hub id or folder): the one with its `config.json` and files matching `needs`.

    Raises `MissingWeights`, with the command that fetches them, when they are not on this machine.
    """
    if is_folder(weights):
        folder = user_path(weights)
        if folder.is_file():
            raise UsageError(f"weights: {folder} is a file; expected {_A_FOLDER}{of_gguf(folder)}")
        if not folder.is_dir():
            raise MissingWeights(f"weights: the folder {folder} does not exist")
        missing = _missing(folder, needs)
        if missing:
            raise MissingWeights(
                f"weights: the folder {folder} holds no {missing}; expected {_A_FOLDER}"
                + of_gguf(*folder.glob("*.gguf"))
            )
        return folder
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(weights, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError):
        folder = None
    if folder is None or _missing(folder, needs):
        raise MissingWeights(
            f"weights: {weights} is not on this machine (looked in {constants.HF_HUB_CACHE}). Fetch it with\n"
            f"  hf download {weights}\n"
            f'or give weights = "FOLDER" that holds it, or weights = "{SEEDED}" to start from random weights.'
        )
    return folder


@contextmanager
def known_architectures(known: dict[str, dict[str, Any]]) -> Generator[None]:
    """Within, `architecture` answers from `known` (weights to the content of their `config.json`) before it looks for
    a file, and puts there what it had to read: a model can then be described, and rebuilt, apart from its files."""
    before = _KNOWN.set(known)
    try:
        yield
    finally:
        _KNOWN.reset(before)


def architecture(weights: str, *, model_type: str, needed: bool = True) -> dict[str, Any]:
    """The `config.json` beside pretrained weights, which decides what the model is; see `check_architecture`. Under
    `PREPROCESSOR` it holds that file, where there is one.

    needed: False gives `{}` for a hub id that is not on this machine.
    Raises `MissingWeights` as `pretrained_folder`, and `UsageError` when it describes another kind of model.
    """
    known = _KNOWN.get()
    if known is not None and weights in known:
        return known[weights]
    try:
        file = pretrained_folder(weights, needs="config.json") / "config.json"
    except MissingWeights:
        if needed or is_folder(weights):
            raise
        return {}
    config = read_config(file)
    found = config.get("model_type")
    if found != model_type:
        raise UsageError(f'{file}: model_type: expected "{model_type}", got {json.dumps(found)}')
    if (beside := file.with_name(PREPROCESSOR)).is_file():
        config[PREPROCESSOR] = read_config(beside)
    if known is not None:
        known[weights] = config
    return config


def read_config(file: Path) -> dict[str, Any]:
    """A `config.json`, or another file of settings beside weights. Raises `UsageError` when it is none."""
    try:
        config: Any = json.loads(read_data(file, NOTES).decode("utf-8-sig"))
    except OSError as error:
        raise UsageError(f"{file}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file}: not JSON: {error}; expected a table of settings in UTF-8") from None
    if not isinstance(config, dict):
        raise UsageError(f"{file}: expected a table of settings, got {type(config).__name__}")
    return config


def check_architecture(
    weights: str, config: Mapping[str, Any], stated: Mapping[str, Any], fixed: Mapping[str, Any], free: str
) -> None:
    """Raise `Problems` that name every key of a `config.json` which says something else than is expected.

    stated: what the recipe, or the name of a component, says; None where it says nothing, and the key must be there.
    fixed: keys that can have only this value here; they have it when they are left out.
    free: the component whose name stands for no size.
    """
    where = f"config.json of {weights}"
    problems: list[Problem] = []

    def wrong(key: str, text: str) -> None:
        problems.append(Problem(text, key=key))

    for key, value in stated.items():
        got = config.get(key)
        if value is None and got is None:
            wrong(key, f"missing in {where}; expected what `save_pretrained` of transformers writes")
        elif value is not None and got != value:
            wrong(
                key,
                f"the recipe says {json.dumps(value)}, {where} says {json.dumps(got)}; "
                f'"{free}" without this key takes what the file says',
            )
    for key, value in fixed.items():
        got = config.get(key)
        if got is not None and got != value:
            wrong(key, f"{where} says {json.dumps(got)}, expected {json.dumps(value)} or no such key")
    if problems:
        raise Problems(problems)


Kind = tuple[Callable[[Any], bool], str]
"""Whether a value of a `config.json` is of a kind, and what the kind is called."""

COUNT: Kind = (lambda value: type(value) is int and value >= 1, "a whole number from 1")
POSITIVE: Kind = (lambda value: type(value) in (int, float) and 0 < value < inf, "a number above 0")
FLAG: Kind = (lambda value: type(value) is bool, "true or false")
TABLE: Kind = (lambda value: type(value) is dict, "a table")


def activation(value: Any) -> bool:
    """Whether transformers knows an activation by this name."""
    if value in ("silu", "gelu"):  # without the seconds that transformers takes to be imported
        return True
    from transformers.activations import ACT2FN

    return isinstance(value, str) and value in ACT2FN


def activation_function(name: str) -> Any:
    """The activation that transformers knows by this name, which maps a tensor to one of the same shape."""
    import torch.nn.functional as F

    if name in ("silu", "gelu"):
        return getattr(F, name)
    from transformers.activations import ACT2FN

    return ACT2FN[name]


ACTIVATION: Kind = (activation, "the name of an activation of transformers, such as silu or gelu")


def check_kinds(weights: str, config: Mapping[str, Any], kinds: Mapping[str, Kind]) -> None:
    """Raise `Problems` that name every key of a `config.json` whose value is of another kind than it must be.

    Keys that are left out pass, and counts and tables that say null; transformers takes no null for the others.
    """
    wrong = [
        Problem(f"config.json of {weights} says {json.dumps(config[key])}, expected {called}", key=key)
        for key, (holds, called) in kinds.items()
        if key in config
        and not (config[key] is None and (holds, called) in (COUNT, TABLE))
        and not holds(config[key])
    ]
    if wrong:
        raise Problems(wrong)


def check_heads(weights: str, config: Mapping[str, Any]) -> None:
    """Raise `Problems` unless the width is a multiple of the heads, which it has to be wherever both are given."""
    width, heads = config.get("hidden_size"), config.get("num_attention_heads")
    if width and heads and width % heads:
        text = f"config.json of {weights} says {heads}, expected a divisor of hidden_size = {width}"
        raise Problems([Problem(text, key="num_attention_heads")])


def read_weights(weights: str, kind: Any) -> dict[str, Any]:
    """The tensors of pretrained weights as float32, by transformers' names for a model of its class `kind`.

    Every weight of the architecture that `config.json` describes comes from the files, in its shape, and nothing that
    this architecture would hold is left over. Raises `MissingWeights`, and `Problems` or `UsageError` that name the
    file or the tensors.
    """
    import torch

    folder = pretrained_folder(weights)
    for file in sorted(folder.glob("*.safetensors")):
        check_whole(file)
    try:
        model, found = kind.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except OSError as error:  # a file that an index names is not there
        raise MissingWeights(f"weights: {folder}: {error}") from None
    own = model.state_dict()
    wrong = dict.fromkeys(found["missing_keys"], "missing")
    for name, there, here in found["mismatched_keys"]:
        wrong[name] = f"expected shape {list(here)}, as config.json says, got {list(there)}"
    prefix = f"{kind.base_model_prefix}."
    known = {*own, *(f"{prefix}{name}" for name in own), *(name.removeprefix(prefix) for name in own)}
    for file in sorted(folder.glob("*.safetensors")):
        check_weights(file, known)
    roots = {name.partition(".")[0] for name in own}
    for name in found["unexpected_keys"]:  # a classifier beside the model is passed over
        parts = name.split(".")
        if parts[0] in roots or (parts[0] == kind.base_model_prefix and parts[1] in roots):
            wrong[name] = "unexpected: config.json describes a model without it"
    if wrong:
        raise Problems([Problem(text, str(folder), key=name) for name, text in sorted(wrong.items())])
    return own


def check_whole(file: Path) -> None:
    """Raise `UsageError` unless a file is of safetensors and as long as it says."""
    from safetensors import SafetensorError, safe_open

    check_data(file)
    try:
        with safe_open(file, framework="pt"):
            pass
    except (SafetensorError, OSError) as error:
        raise UsageError(
            f"{file}: not a whole safetensors file ({file.stat().st_size:,} bytes): {error}. Fetch it again"
            + of_gguf(file)
        ) from None


def no_weight(tensor: Any) -> str:
    """Why a tensor is none that a model could start from, or nothing: it is no floating point of 16 bits or more, or
    holds what is no finite number. Of 8 bits and below, the scales that make numbers of them are apart."""
    if not tensor.is_floating_point() or tensor.dtype.itemsize < 2:
        return f"expected floating point of 16, 32 or 64 bits, got {str(tensor.dtype).removeprefix('torch.')}"
    finite = tensor.isfinite()
    if finite.all():
        return ""
    count, nans = int((~finite).sum()), int(tensor.isnan().sum())
    kind = "NaN" if nans == count else "infinite" if not nans else "NaN or infinite"
    return f"{count:,} of its {tensor.numel():,} numbers are {kind}: these weights are damaged, or the run diverged"


def check_weights(file: Path, names: Collection[str] | None = None) -> None:
    """Raise `Problems` that name every tensor of a safetensors file that is none to start from; see `no_weight`.

    names: those that matter; None for all."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as tensors:
        problems = [
            Problem(fault, str(file), key=name)
            for name in sorted(tensors.keys())
            if (names is None or name in names) and (fault := no_weight(tensors.get_tensor(name)))
        ]
    if problems:
        raise Problems(problems)


_A_FOLDER = (
    "a folder with config.json, *.safetensors and, for a language model, tokenizer.json, as `hf download` and "
    "`save_pretrained` write them"
)


def of_gguf(*files: Path) -> str:
    """What to do with weights for llama.cpp, of which there may be none."""
    for file in files:
        if file.suffix == ".gguf":
            return (
                f". {file.name} is made for llama.cpp: take the folder it was converted from, or convert it back: "
                f'transformers.AutoModelForCausalLM.from_pretrained("{file.parent}", gguf_file="{file.name}")'
                '.save_pretrained("FOLDER"), and its tokenizer likewise'
            )
    return ""


def _missing(folder: Path, needs: str) -> str:
    """The first of config.json and `needs` that the folder has no file for, or nothing."""
    return next((pattern for pattern in ("config.json", needs) if not any(folder.glob(pattern))), "")
