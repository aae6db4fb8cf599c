"""The JSON of a sample, in every variant, to its chat turns."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from fvlm_core.plugin_api import NotText, Turn, decoded, fault_of, listed, media_keys
from fvlm_shards.token_ids import TokenIds

PROMPTS = {
    "openvid": "Write a brief caption for this video.",
    "webvid": "What would be the WebVid caption for this video?",
    "vript": "Provide a detailed narration of what happens in this video.",
    "sharegpt4video": "Describe what happens in this video in detail.",
}
"""The founding project's questions, by the source that a record names."""

OTHERWISE = "Describe this."

_WORDS = ("turns", "chosen_assistant", "assistant", "caption", "chosen_token_ids", "token_ids")
"""The keys under which a record says something."""


class UnusableRecord(Exception):
    """Why a record gives no sample."""


class Blind(UnusableRecord):
    """Why what a sample shows, or says that it does, is missing or cannot be read."""


class RecordText(NamedTuple):
    """What a record says. rejected: empty but for preference pairs. frames: as it declares, None if it does not.
    source: of ours, the source that it was packed from. names: its keys that name a picture or a video. text_only: as
    it declares, None if it does not. category, chance: of ours, see `Sample`."""

    id: str
    turns: tuple[Turn, ...]
    rejected: tuple[Turn, ...] = ()
    frames: int | None = None
    source: str = ""
    names: tuple[str, ...] = ()
    text_only: bool | None = None
    category: str = ""
    chance: float | None = None


def read_record(
    content: bytes, prompt: str, token_ids: TokenIds | None, about: Mapping[str, Any] | None = None
) -> RecordText:
    """Any variant of a record. about: what a .json says beside a caption in a .txt. Raises `UnusableRecord`.

    Ours: {"id", "turns", "rejected"?, "category"?, "chance"?}. The founding project's: A {"token_ids", "loss_mask"};
    B {"caption"}, or the caption alone, from a .txt; C {"user", "assistant"}; D {"user", "chosen_assistant",
    "rejected_assistant"} or {"chosen_token_ids", "rejected_token_ids"}. Text comes before token ids where a record has
    both.
    """
    record = object_of(content)
    told = record if about is None else about
    name: Any = told.get("video_id")
    if "turns" in record:
        turns, rejected = _turns(record["turns"]), _turns(record.get("rejected", []))
        name, source = _string(record, "id"), _string(record, "source", "")
        category, chance = _string(record, "category", ""), record.get("chance")
    else:
        turns, rejected = _founding(record, prompt, token_ids)
        source, category, chance = "", "", None
        if not any(turn.content.strip() for turn in turns if turn.role == "assistant"):
            raise UnusableRecord("empty answer")
    frames, text_only = told.get("frame_count"), told.get("is_text_only")
    known = told.get("source")
    names = media_keys(told) + (["source"] if isinstance(known, str) and known in PROMPTS else [])
    return RecordText(
        name if isinstance(name, str) else "",
        turns,
        rejected,
        frames if type(frames) is int else None,
        source,
        tuple(names),
        text_only if isinstance(text_only, bool) else None,
        category,
        chance if type(chance) is float and 0 <= chance <= 1 else None,
    )


def object_of(content: bytes) -> dict[str, Any]:
    """The JSON object of a record, or of a caption alone. Raises `UnusableRecord`, also for half a surrogate
    pair, which JSON can write and no text may hold."""
    try:
        text = decoded(content)
        record: Any = json.loads(text) if text.lstrip()[:1] in ("{", "[") else {"caption": text.strip()}
    except NotText as error:
        raise UnusableRecord(str(error)) from None
    except (ValueError, RecursionError) as error:
        raise UnusableRecord(f"not JSON: {error}") from None
    if not isinstance(record, dict):
        raise UnusableRecord(f"expected a JSON object, got {type(record).__name__}")
    if "\\u" in text and (fault := fault_of(json.dumps(record, ensure_ascii=False))):
        raise UnusableRecord(fault)
    return cast("dict[str, Any]", record)


def says_text(record: Mapping[str, Any]) -> bool:
    """Whether a record holds words or token ids, and is not only about its sample."""
    return any(record.get(key) not in (None, "") for key in _WORDS)


def _founding(
    record: Mapping[str, Any], prompt: str, token_ids: TokenIds | None
) -> tuple[tuple[Turn, ...], tuple[Turn, ...]]:
    user = _string(record, "user", "") or prompt or PROMPTS.get(_string(record, "source", ""), OTHERWISE)
    system = _string(record, "system", "")
    asked = (*((Turn("system", system),) if system else ()), Turn("user", user))
    if "chosen_assistant" in record:
        chosen, worse = _string(record, "chosen_assistant"), _string(record, "rejected_assistant")
        if chosen == worse:
            raise UnusableRecord("the chosen and the rejected answer are the same")
        return (*asked, Turn("assistant", chosen)), (*asked, Turn("assistant", worse))
    for key in ("assistant", "caption"):
        if key in record:
            return (*asked, Turn("assistant", _string(record, key).strip("\0"))), ()
    for key, other in (("chosen_token_ids", "rejected_token_ids"), ("token_ids", "")):
        if key in record:
            if token_ids is None:
                raise UnusableRecord(
                    f"{key} and no text: name the tokenizer.json that made them (tokenizer = ...), so that they can be "
                    "turned back into text"
                )
            try:
                chosen_turns = token_ids.turns(record[key])
                return chosen_turns, token_ids.turns(record[other]) if other in record else ()
            except ValueError as error:
                raise UnusableRecord(f"{key}: {error}") from None
    raise UnusableRecord(f"no text among its keys: {listed(record)}")


def _turns(value: Any) -> tuple[Turn, ...]:
    try:
        pairs: list[tuple[Any, Any]] = [(turn["role"], turn["content"]) for turn in value]
    except (TypeError, KeyError):
        raise UnusableRecord('turns: expected a list of {"role", "content"}') from None
    if not all(role in ("system", "user", "assistant") and isinstance(text, str) for role, text in pairs):
        raise UnusableRecord("turns: expected the roles system, user and assistant, each with a text")
    for _, text in pairs:
        if fault := fault_of(text):
            raise UnusableRecord(f"turns: {fault}")
    return tuple(Turn(role, text) for role, text in pairs)


def _string(record: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value: Any = record.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise UnusableRecord(f"{key}: expected a string, got {type(value).__name__}")
    value = value.strip("\0")
    if fault := fault_of(value):
        raise UnusableRecord(f"{key}: {fault}")
    return value
