"""`python tests/helpers/rooms.py`: draws the rooms of the core as docs/images/rooms.svg, each below those it imports
from."""

from __future__ import annotations

import tomllib
from pathlib import Path

import grimp
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOMS_PICTURE = "docs/images/rooms.svg"


def rooms(root: Path) -> list[str]:
    """The rooms, each after all that it may import from: the order that import-linter checks."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    return list(reversed(layers))


def draw_rooms(root: Path, to: Path) -> None:
    """A box a room, as long as its files have lines; an arc to each room that it imports from."""
    graph = grimp.build_graph("fvlm_core", exclude_type_checking_imports=True, cache_dir=None)
    order = [room for room in rooms(root) if (root / "fvlm_core" / room / "__init__.py").is_file()]
    lines = {
        room: sum(len(path.read_text().splitlines()) for path in (root / "fvlm_core" / room).rglob("*.py"))
        for room in order
    }
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "rooms"}):
        figure = Figure(figsize=(9, 0.42 * len(order)))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
        axes.set(xlim=(-0.2, 9), ylim=(len(order) - 0.4, -0.6))
        axes.axis("off")
        for at, room in enumerate(order):
            width = 1.5 + 2.5 * lines[room] / max(lines.values())
            axes.add_patch(
                FancyBboxPatch(
                    (4.2, at - 0.3), width, 0.6, boxstyle="round,pad=0.02", fc="#e8eef7", ec="#4a6fa5"
                )
            )
            axes.text(4.3, at, room, va="center", fontsize=11)
            axes.text(
                4.2 + width + 0.12, at, f"{lines[room]:,} lines", va="center", fontsize=8, color="#666666"
            )
        for room, other in sorted(_imports(graph)):
            if room in order and other in order:
                axes.add_patch(_arc(order.index(room), order.index(other)))
        figure.savefig(to, metadata={"Date": None})


def _imports(graph: grimp.ImportGraph) -> set[tuple[str, str]]:
    """(room, room that one of its files imports from)."""
    arrows = (
        (module.split(".")[1], other.split(".")[1])
        for module in graph.modules - {"fvlm_core"}
        for other in graph.find_modules_directly_imported_by(module) - {"fvlm_core"}
    )
    return {(room, other) for room, other in arrows if room != other}


def _arc(at: int, below: int) -> FancyArrowPatch:
    return FancyArrowPatch(
        (4.15, at), (4.15, below), connectionstyle="arc3,rad=-0.8", arrowstyle="->", mutation_scale=7,
        lw=0.6, color="#4a6fa5", alpha=0.45,
    )  # fmt: skip


if __name__ == "__main__":
    here = Path(__file__).resolve().parents[2]
    draw_rooms(here, here / ROOMS_PICTURE)
