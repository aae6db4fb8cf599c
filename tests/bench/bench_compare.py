"""Do the intervals of `fvlm runs compare` hold the truth? Simulated validation losses with a known difference.

    python tests/bench/bench_compare.py [--campaigns 2000] [--into docs/howto/comparing.md]

A sample's loss is its number of tokens times (its own difficulty + what the variant does to its source + what the
variant does to it, heavy-tailed + what the seed did to the whole run + what this run does to it). The truth of the
variants is the second over endless samples and seeds; that of "these weights" holds the seed's part, too.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from fvlm_core.comparison.contrast import PAIRED_FROM
from fvlm_core.comparison.statistics import (
    Floats,
    Ints,
    Repeats,
    StudentInterval,
    holm,
    influence,
    over_both,
    over_samples,
    paired,
)

MARKS = ("<!-- coverage -->", "<!-- alarms -->", "<!-- end -->")
SHARES = (0.43, 0.28, 0.15, 0.14)
"""Of the sources; the last is text, with longer samples and another effect."""


@frozen
class Case:
    """One kind of campaign. Standard deviations in nats a token. training: of a run as a whole. shared: the part of its
    variance that two runs of one seed have in common. of_variant: what a variant does to a sample. of_run: what a run
    does to it. wilder: how many times the training noise of the baseline the variant has."""

    name: str
    samples: int
    seeds: int
    training: float = 0.01
    shared: float = 0.0
    of_variant: float = 0.15
    of_run: float = 0.10
    wilder: float = 1.0


CASES = (
    Case("one seed", 1000, 1),
    Case("one seed, 100 samples", 100, 1),
    Case("two seeds", 1000, 2),
    Case("three seeds", 1000, 3),
    Case("three seeds, little training noise", 1000, 3, training=0.001),
    Case("three seeds, much training noise", 1000, 3, training=0.05),
    Case("three seeds, half of it shared", 1000, 3, shared=0.5),
    Case("three seeds, 100 samples", 100, 3),
    Case("three seeds, all of it shared", 1000, 3, shared=1.0),
    Case("three seeds, the variant's five times as noisy", 1000, 3, wilder=5),
    Case("five seeds", 1000, 5),
    Case("five seeds, half of it shared", 1000, 5, shared=0.5),
    Case("ten seeds", 1000, 10),
)
EFFECTS = np.array([0.02, 0.01, 0.03, -0.02])
"""Of the variant, by source."""


def simulate(
    case: Case, random: np.random.Generator, effects: list[Floats]
) -> tuple[list[Repeats], list[Floats], Ints]:
    """Variants on the same samples: their groups, the part of the seed in each run, the sources. effects: by source."""
    counts = np.round(np.array(SHARES) * case.samples).astype(int)
    sources = np.repeat(np.arange(len(SHARES)), counts)
    size = len(sources)
    tokens = np.round(random.gamma(4.0, np.array([30, 60, 40, 90])[sources] / 4)) + 5
    difficulty = np.array([1.3, 1.6, 1.1, 1.9])[sources] * random.lognormal(0, 0.4, size)
    together = random.normal(0, case.training * case.shared**0.5, case.seeds)
    groups: list[Repeats] = []
    shifts: list[Floats] = []
    for number, effect in enumerate(effects):
        own = random.standard_t(4, size) / 2**0.5 * case.of_variant
        noise = case.training * (case.wilder if number == 1 else 1)
        shift = together + random.normal(0, noise * (1 - case.shared) ** 0.5, case.seeds)
        losses = tokens * (
            difficulty
            + effect[sources]
            + own
            + shift[:, None]
            + random.normal(0, case.of_run, (case.seeds, size))
        )
        parts = np.array([influence(each, tokens) for each in losses])
        groups.append(Repeats(1.0, losses.sum(axis=1) / tokens.sum(), parts))
        shifts.append(shift)
    return groups, shifts, sources


def truth(effect: Floats, case: Case) -> float:
    """The difference over endless samples: the sources' effects by their share of the tokens."""
    counts = np.round(np.array(SHARES) * case.samples)
    tokens = counts * (np.array([30, 60, 40, 90]) + 5)
    return float((effect * tokens).sum() / tokens.sum())


def coverage(case: Case, campaigns: int, random: np.random.Generator) -> list[str]:
    """A row: percentages of intervals that hold the truth, and half their widths."""
    hits: dict[str, list[bool]] = {}
    halves: dict[str, list[float]] = {}
    for _ in range(campaigns):
        (base, other), shifts, sources = simulate(case, random, [np.zeros(len(SHARES)), EFFECTS])
        groups = [Repeats(-1.0, base.losses, base.parts), other]
        if case.seeds >= PAIRED_FROM:
            groups = [paired(groups)]
        real = truth(EFFECTS, case)
        of_weights = real + float(shifts[1].mean() - shifts[0].mean())
        found = {
            "weights": (over_samples(groups, sources), of_weights),
            "misread": (over_samples(groups, sources), real),
            "both": (over_both(groups, sources), real),
            "seeds": (over_both([Repeats(g.weight, g.losses, None) for g in groups], sources), real),
        }
        for name, (interval, value) in found.items():
            if interval is not None:
                hits.setdefault(name, []).append(interval.low <= value <= interval.high)
                halves.setdefault(name, []).append(interval.half)
    cells = [
        f"{100 * np.mean(hits[name]):.1f}" if name in hits else ""
        for name in ("weights", "misread", "both", "seeds")
    ]
    wide = [f"{np.mean(halves[name]):.4f}" if name in halves else "" for name in ("weights", "both")]
    return [case.name, str(case.samples), str(case.seeds), *cells, *wide]


def alarms(variants: int, seeds: int, campaigns: int, random: np.random.Generator) -> list[str]:
    """A row: how often at least one of so many variants that change nothing is called better or worse."""
    case = Case("", 500, seeds)
    counts = np.zeros(3)
    for _ in range(campaigns):
        whole, _, sources = simulate(case, random, [np.zeros(len(SHARES))] * (variants + 1))
        base = Repeats(-1.0, whole[0].losses, whole[0].parts)
        pairs = [[paired([base, other])] if seeds >= PAIRED_FROM else [base, other] for other in whole[1:]]
        of_weights = _chances([over_samples(groups, sources) for groups in pairs])
        both = _chances([over_both(groups, sources) for groups in pairs])
        counts += [
            min(holm(of_weights)) < 0.05,
            bool(both) and min(both) < 0.05,
            bool(both) and min(holm(both)) < 0.05,
        ]
    shown = [f"{100 * count / campaigns:.1f}" for count in counts]
    return [str(variants), str(seeds), shown[0], *(shown[1:] if seeds > 1 else ["", ""])]


def _chances(intervals: list[StudentInterval | None]) -> list[float]:
    return [interval.p for interval in intervals if interval is not None]


def markdown(head: list[str], rows: list[list[str]]) -> str:
    """A table."""
    rules = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rules, *rows))


def main() -> None:
    """Simulate, print, and write the tables into the document."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--campaigns", type=int, default=2000)
    parser.add_argument("--into", type=Path, help="A document with the marks of both tables.")
    options = parser.parse_args()
    random: Any = np.random.default_rng(2026)
    first = markdown(
        ["case", "samples", "seeds", "these weights %", "the same, of the variants %", "seeds and samples %",
         "seeds alone %", "half width, weights", "half width, both"],
        [coverage(case, options.campaigns, random) for case in CASES],
    )  # fmt: skip
    print(first)
    second = markdown(
        [
            "variants",
            "seeds",
            "these weights, Holm %",
            "seeds and samples, each alone %",
            "seeds and samples, Holm %",
        ],
        [alarms(v, s, options.campaigns // 2, random) for v, s in ((7, 1), (1, 3), (7, 3), (7, 5))],
    )
    print(second)
    if options.into:
        text = options.into.read_text()
        for mark, table in zip(MARKS[:2], (first, second), strict=True):
            before, _, rest = text.partition(mark)
            text = f"{before}{mark}\n{table}\n{MARKS[2]}{rest.partition(MARKS[2])[2]}"
        options.into.write_text(text)


if __name__ == "__main__":
    main()
