"""The chat template that lies beside a tokenizer: whether it is the format of `ChatML`, and how it begins a chat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

from fvlm_core.plugin_api import NotText, UsageError, decoded, read_config, read_data

SYSTEM = "You are a helpful AI assistant."
"""The system turn of chats that have none, unless a recipe says another."""

_ASKED = [{"role": "user", "content": "Hi"}]
_TALK = [{"role": "system", "content": "Be brief."}, *_ASKED, {"role": "assistant", "content": "Yes."}]

_LONGEST = 4 << 20
"""Bytes of a template that is read."""

_WAY_OUT = "Chats here are ChatML: a copy of the folder without its chat template is trained in that format"


def own_system(folder: Path) -> str | None:
    """The system turn that a folder's chat template begins a chat with which has none: empty when there is none, None
    when the folder has no chat template. Raises `UsageError` for a template that is not ChatML.
    """
    file, template, special = _template(folder)
    if template is None:
        return None
    answer = "<|im_start|>assistant\n"
    for talk, open_ in ((_TALK, False), ([*_TALK, *_ASKED], True)):
        expected = _chatml(talk) + answer * open_
        made = _rendered(file, template, special, talk, open_)
        if made != expected:
            raise _strange(file, expected, made)
    made = _rendered(file, template, special, _ASKED, True)
    expected = _chatml(_ASKED) + answer
    before, after = made.removesuffix(expected), made[-len(expected) :]
    system = before.removeprefix("<|im_start|>system\n").removesuffix("<|im_end|>\n")
    if after != expected or before not in ("", _chatml([{"role": "system", "content": system}])):
        raise _strange(file, expected, made)
    return system


def _template(folder: Path) -> tuple[Path, str | None, dict[str, str]]:
    """Where it is, itself, and the special tokens that it may name."""
    settings = folder / "tokenizer_config.json"
    config = read_config(settings) if settings.exists() else {}
    named = {
        key: value.get("content") if isinstance(value, dict) else value
        for key, value in config.items()
        if key.endswith("_token")
    }
    special = {key: value for key, value in named.items() if isinstance(value, str)}
    alone = folder / "chat_template.jinja"
    if alone.exists():
        try:
            return alone, decoded(read_data(alone, _LONGEST)), special
        except NotText as error:
            raise UsageError(f"{alone}: {error}") from None
        except OSError as error:
            raise UsageError(f"{alone}: cannot be read: {error.strerror}") from None
    return settings, _default(settings, config.get("chat_template")), special


def _default(file: Path, found: Any) -> str | None:
    """The text of a `chat_template`, or of the one called default in a list of several."""
    if found is None or isinstance(found, str):
        return found
    if not isinstance(found, list):
        raise UsageError(f"{file}: chat_template: expected a text or a list, got {type(found).__name__}")
    texts: dict[str, str] = {}
    for place, one in enumerate(cast("list[Any]", found)):
        match one:
            case {"name": str(name), "template": str(text)}:
                texts[name] = text
            case _:
                raise UsageError(
                    f"{file}: chat_template[{place}]: expected a table of two texts, name and template, "
                    f"got {json.dumps(one)}"
                )
    if "default" not in texts:
        names = ", ".join(map(json.dumps, texts)) or "none"
        raise UsageError(
            f'{file}: chat_template: expected one whose name is "default", got {names}. {_WAY_OUT}'
        )
    return texts["default"]


def _rendered(
    file: Path, template: str, special: dict[str, str], talk: list[dict[str, str]], open_: bool
) -> str:
    """What transformers makes of a chat. open_: whether the assistant's next turn is begun."""
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    names: Any = special
    try:
        made, _ = render_jinja_template([talk], chat_template=template, add_generation_prompt=open_, **names)
    except Exception as error:  # a template is a program: it may raise anything
        said = str(error) if isinstance(error, TemplateError) else f"{type(error).__name__}: {error}"
        raise UsageError(f"{file}: its chat template cannot be used: {said}") from None
    return made[0]


def _chatml(talk: list[dict[str, str]]) -> str:
    return "".join(f"<|im_start|>{turn['role']}\n{turn['content']}<|im_end|>\n" for turn in talk)


def _strange(file: Path, expected: str, made: str) -> UsageError:
    return UsageError(
        f"{file}: its chat template is refused: it is not ChatML. It makes {made!r} of a chat, expected {expected!r}. "
        + _WAY_OUT
    )
