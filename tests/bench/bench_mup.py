"""Whether one learning rate serves all widths: the tables and the figure of docs/measurements/mup.md.

    python tests/bench/bench_mup.py coordinates           # activations by width after 0, 1 and 10 steps, 2 minutes
    python tests/bench/bench_mup.py sweep --figure FILE   # the best rate at three widths, 10 minutes on one busy core

Models and task are those of tests/helpers/widths.py: encoder, connector and language model grow together.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))

from widths import BASE, checked, final_loss

WIDTHS = (32, 64, 128, 256, 512)
STEPS = (1, 10)
RATE = 5e-3
SWEPT = (32, 64, 128)
RATES = tuple(0.01 * 2.0**k for k in range(-4, 3))
TRAINED = 120
"""Steps of a run of the sweep."""

NAMES = {False: "standard", True: "muP"}


def coordinates() -> str:
    """Root mean squares by width, and the largest over the smallest."""
    lines: list[str] = []
    for mup in (True, False):
        tables = {width: checked(width, RATE, mup, STEPS) for width in WIDTHS}
        lines += [
            f"\n{NAMES[mup]}, rate {RATE:g}:\n",
            f"| steps | root mean square of | {_cells(WIDTHS)} | ratio |",
        ]
        lines.append("|---:|---|" + "---:|" * (len(WIDTHS) + 1))
        for step in (0, *STEPS):
            for kind in tables[BASE][step]:
                values = [tables[width][step][kind] for width in WIDTHS]
                shown = _cells(f"{value:.2f}" for value in values)
                lines.append(f"| {step} | {kind} | {shown} | {max(values) / min(values):.2f} |")
    return "\n".join(lines)


def sweep(figure: Path | None) -> str:
    """Final losses by width and rate; the best of each width in bold. At the base width both are the same."""
    losses: dict[tuple[bool, int], list[float]] = {}
    lines = [f"| parametrisation | width | {_cells(f'{rate:.3g}' for rate in RATES)} |"]
    lines.append("|---|---:|" + "---:|" * len(RATES))
    for mup in (False, True):
        for width in SWEPT:
            same = losses.get((False, width)) if width == BASE else None
            found = same or [final_loss(width, rate, mup, TRAINED) for rate in RATES]
            losses[mup, width] = found
            shown = _cells(f"**{each:.2f}**" if each == min(found) else f"{each:.2f}" for each in found)
            lines.append(f"| {NAMES[mup]} | {width} | {shown} |")
            print(lines[-1], file=sys.stderr, flush=True)
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
