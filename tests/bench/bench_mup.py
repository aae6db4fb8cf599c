"""Whether one learning rate serves all widths: the tables and the figure of docs/measurements/mup.md.

    python tests/bench/bench_mup.py coordinates           # activations by width after 0, 1 and 10 steps, 4 minutes
    python tests/bench/bench_mup.py sweep --figure FILE   # the best rate at three widths, 20 minutes on one busy core

Models and task are those of tests/helpers/widths.py: encoder, connector and language model grow together.
"""

from __future__ import annotations

import argparse
import sys
from itertools import product
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from widths import BASE, ELSEWHERE, LOGITS, checked, final_loss

WIDTHS = (32, 64, 128, 256, 512)
STEPS = (1, 10)
RATE = 5e-3
SEEDS = 3
"""Drawn weights and batches that all figures are means over."""
SWEPT = (32, 64, 128)
RATES = tuple(0.01 * 2.0**k for k in range(-4, 3))
TRAINED = 120
"""Steps of a run of the sweep."""

NAMES = {False: "standard", True: "muP"}


def coordinates() -> str:
    """Root mean squares by width, and the largest over the smallest; of a tied head the logits alone."""
    lines: list[str] = []
    for mup, tied in ((True, False), (False, False), (True, True)):
        tables = {width: checked(width, RATE, mup, STEPS, SEEDS, tied) for width in WIDTHS}
        lines += [
            f"\n{NAMES[mup]}, {'the embedding' if tied else 'a head of its own'}:\n",
            f"| steps | root mean square of | {_cells(WIDTHS)} | ratio |",
        ]
        lines.append("|---:|---|" + "---:|" * (len(WIDTHS) + 1))
        for step, kind in product((0, *STEPS), (LOGITS, ELSEWHERE) if tied else tables[BASE][0]):
            values = [tables[width][step][kind] for width in WIDTHS]
            ratio = f"{max(values) / min(values):.2f}" if min(values) else ""
            lines.append(f"| {step} | {kind} | {_cells(f'{value:.3f}' for value in values)} | {ratio} |")
    return "\n".join(lines)


def sweep(figure: Path | None) -> str:
    """Final losses by width and rate, means over seeds; the best of each width in bold."""
    losses: dict[tuple[bool, int], list[float]] = {}
    lines = [f"| parametrisation | width | {_cells(f'{rate:.3g}' for rate in RATES)} |"]
    lines.append("|---|---:|" + "---:|" * len(RATES))
    for mup in (False, True):
        for width in SWEPT:
            of_seeds = [
                [final_loss(width, rate, mup, TRAINED, seed) for rate in RATES] for seed in range(SEEDS)
            ]
            found = [sum(each) / SEEDS for each in zip(*of_seeds, strict=True)]
            best = [RATES[each.index(min(each))] for each in of_seeds]
            losses[mup, width] = found
            shown = _cells(f"**{each:.2f}**" if each == min(found) else f"{each:.2f}" for each in found)
            lines.append(f"| {NAMES[mup]} | {width} | {shown} |")
            print(lines[-1], "of each seed:", _cells(best), file=sys.stderr, flush=True)
    if figure is not None:
        draw(losses, figure)
    return "\n".join(lines)


def draw(losses: dict[tuple[bool, int], list[float]], file: Path) -> None:
    """Loss against rate, a curve a width, both parametrisations beside each other."""
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(8, 3.4), layout="constrained")
    axes = drawn.subplots(1, 2, sharey=True)
    for axis, mup in zip(axes, (False, True), strict=True):
        for width in SWEPT:
            values = losses[mup, width]
            (line,) = axis.plot(RATES, values, marker="o", markersize=3, label=f"width {width}")
            best = values.index(min(values))
            axis.plot(RATES[best], values[best], marker="*", markersize=13, color=line.get_color())
        axis.set(xscale="log", xlabel="learning rate", title=NAMES[mup])
    axes[0].set_ylabel("final loss, nats a token")
    axes[1].legend(frameon=False)
    drawn.savefig(file, dpi=150)


def _cells(values: object) -> str:
    return " | ".join(map(str, values))  # pyright: ignore[reportArgumentType]


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("coordinates", "sweep"))
    parser.add_argument("--figure", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    print(coordinates() if asked.what == "coordinates" else sweep(asked.figure))


if __name__ == "__main__":
    main()
