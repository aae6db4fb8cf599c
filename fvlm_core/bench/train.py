"""Training and watching beside other ways of doing the same, each in processes of its own."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

from attrs import evolve, frozen

from fvlm_core.bench.child import growth_of, seconds_of
from fvlm_core.bench.dense import FRAMES, SPARSE, TEXT
from fvlm_core.bench.mix import PADDED, SAMPLES, plan, rooms
from fvlm_core.bench.pairs import Pair, in_pairs
from fvlm_core.bench.plain import comparable, unread, wasted
from fvlm_core.bench.setting import Setting
from fvlm_core.bench.stream import GROWN, WATCHED
from fvlm_core.planning.connector_trace import Tracer
from fvlm_core.planning.flops import ledger
from fvlm_core.utils.cpu import has_bf16

MIX_LAYERS = ("model.encoder.depth=3", "model.llm.depth=6")
"""The mix is measured at the recipe's widths with fewer layers: 192 samples are many."""

Progress = Callable[[str, int, int], None]


@frozen(kw_only=True)
class _Comparison:
    """ours, bare: kinds of `child.KINDS`. limit, least: see `Pair`. rounds: at most so many. precisions: of both, where
    they are not the setting's."""

    name: str
    ours: str
    bare: str
    limit: float | None = None
    least: float | None = None
    rounds: int = 100
    precisions: tuple[str, str] | None = None

    def settings(self, setting: Setting) -> tuple[Setting, Setting]:
        """Of both."""
        first, second = self.precisions or (setting.precision, setting.precision)
        return evolve(setting, precision=first), evolve(setting, precision=second)


_COMPARISONS = {
    "bare": [
        _Comparison(
            name="training step, {dense}, against its bare matrices", ours="ours", bare="bare", limit=1.10
        )
    ],
    "plain": [
        _Comparison(
            name="training step, {dense}, against two passes written plainly",
            ours="ours", bare="plain", least=1.08,
        ),
        _Comparison(
            name="the same with {sparse:.0%} of the tokens supervised, against a plain head at every position",
            ours="ours-sparse", bare="plain-sparse", least=1.15,
        ),
    ],
    "compile": [
        _Comparison(
            name="training step, {dense}, layers compiled, against as they are", ours="ours-compiled", bare="ours"
        )
    ],
    "precision": [
        _Comparison(
            name="training step, {dense}, in bf16 against float32",
            ours="ours", bare="ours", precisions=("bf16", "float32"),
        ),
        _Comparison(
            name="the same in bf16 against two passes written plainly in float32",
            ours="ours", bare="plain", least=3.0, precisions=("bf16", "float32"),
        ),
    ],
    "mix": [
        _Comparison(
            name="{mix} samples of a mix, packed, against batches of {padded} padded to the longest",
            ours="mix-packed", bare="mix-padded", least=1.5, rounds=3,
        ),
        _Comparison(
            name="the same against batches of {padded} with no frame padded",
            ours="mix-packed", bare="mix-rows", least=1.0, rounds=1,
        ),
        _Comparison(
            name="the same against packed and filled up to one shape",
            ours="mix-packed", bare="mix-filled", least=1.0, rounds=1,
        ),
    ],
    "stream": [
        _Comparison(
            name="{watched} frames one by one, against their bare parts",
            ours="watching", bare="parts", limit=1.20,
        ),
        _Comparison(
            name="{watched} frames one by one, against the encoder alone", ours="watching", bare="encoding"
        ),
    ],
    "growth": [],
}  # fmt: skip
NAMES = tuple(_COMPARISONS)
"""What `fvlm bench train` can measure."""

EXPONENT = 1.05


def measurable(setting: Setting) -> tuple[str, ...]:
    """What tells something on this machine: bf16 beside float32 only where it is the faster one."""
    return tuple(name for name in NAMES if name != "precision" or setting.device == "cuda" or has_bf16())


def bench_train(setting: Setting, names: Sequence[str], rounds: int, progress: Progress) -> list[Pair]:
    """The comparisons of these names, with the recipe's first run and random weights.

    Raises `UsageError` for a recipe whose vocabulary waits for its data, or whose model is not what a comparison is
    written for, and `FvlmError` when a process fails.
    """
    setting.vocabulary()
    if "plain" in names:
        comparable(setting)
    said: dict[str, Any] = {
        "dense": f"{setting.samples} x {FRAMES} frames x {TEXT} tokens",
        "sparse": SPARSE, "mix": SAMPLES, "padded": PADDED, "watched": WATCHED,
    }  # fmt: skip
    found: list[Pair] = []
    for name in names:
        for one in _COMPARISONS[name]:
            own, other = one.settings(_shallow(setting) if name == "mix" else setting)
            peaks: list[float] = []

            def ours(one: _Comparison = one, own: Setting = own, peaks: list[float] = peaks) -> float:
                seconds, peak = seconds_of(one.ours, own)
                peaks.append(peak)
                return seconds

            pair = in_pairs(
                one.name.format_map(said),
                "s",
                ours,
                lambda one=one, other=other: seconds_of(one.bare, other)[0],
                min(rounds, one.rounds),
                progress,
                limit=one.limit,
                least=one.least,
            )
            flops, bare = flops_of(setting, one.ours), flops_of(setting, one.bare)
            bound = None if flops is None or bare is None else bare / flops
            found.append(evolve(pair, flops=flops, bound=bound, peak=statistics.median(peaks)))
    if "growth" in names:
        found.append(_growth(setting, progress))
    return found


def _growth(setting: Setting, progress: Progress) -> Pair:
    first, last = GROWN[0], GROWN[-1]
    name = f"exponent of time over frames, one by one, {last} (fvlm) and {first} (bare)"
    progress(name, 0, 1)
    seconds, exponent = growth_of(setting)
    progress(name, 1, 1)
    return Pair(
        name=name, unit="s", ours=seconds[last], bare=seconds[first],
        ratio=exponent, low=exponent, high=exponent, limit=EXPONENT,
    )  # fmt: skip


def _shallow(setting: Setting) -> Setting:
    return evolve(setting, overrides=(*setting.overrides, *MIX_LAYERS))


def flops_of(setting: Setting, kind: str) -> float | None:
    """FLOPs of a step of a kind of `child.KINDS`: by the ledger, and what the plain way does besides. None where
    nothing is counted."""
    model = (_shallow(setting) if kind.startswith("mix") else setting).config.model
    tracer = Tracer.of(model, setting.vocabulary())
    eye, speaker = tracer.encoder, tracer.llm

    def sample(frames: int, text: int, supervised: float) -> float:
        labels = round(supervised)
        return ledger(eye, tracer.trace(frames), speaker, text=text, supervised=labels).total

    many = setting.samples
    dense = many * sample(FRAMES, TEXT, TEXT - 1)
    sparse = many * sample(FRAMES, TEXT, SPARSE * (TEXT - 1))
    extra = wasted(eye, many * FRAMES)
    if kind.startswith("mix"):
        lengths = rooms()
        groups = [group for step in plan(kind.removeprefix("mix-"), lengths) for group in step]
        total = 0.0
        for group in groups:
            own = [lengths[place] for place in group]
            frames, text = (max(getattr(room, name) for room in own) for name in ("frames", "tokens"))
            for room in own:
                padded = kind == "mix-padded"
                shape = (
                    (frames, text) if padded else (room.frames, text if kind == "mix-rows" else room.tokens)
                )
                total += sample(*shape, room.tokens - 1)
        return None if kind == "mix-filled" else total
    return {
        "ours": dense,
        "ours-compiled": dense,
        "bare": dense,
        "plain": dense + extra,
        "ours-sparse": sparse,
        "plain-sparse": sparse + extra + unread(speaker, many, round(many * SPARSE * (TEXT - 1))),
    }.get(kind)
