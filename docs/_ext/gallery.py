"""The page of figures: every kind of figure in every style, drawn anew.

python docs/_ext/gallery.py

The points are made by known laws (their constants stand below) with noise of a fixed seed, so that every kind has
something to show and the page can be drawn anywhere, in a minute.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

import fvlm
from fvlm_core.comparison import ComparisonTable, compare, table
from fvlm_core.report.catalogue import names
from fvlm_core.report.figures import LOOKS, Look, draw_figures
from fvlm_core.report.figures.ablations import ablations_plot
from fvlm_core.runs.store import list_runs

DOCS = Path(__file__).parents[1]
sys.path.insert(0, str(DOCS.parent / "tests" / "helpers"))
from run_folders import validation, write_run  # noqa: E402  # pyright: ignore[reportMissingImports]

ABLATIONS = "ablations"
"""The figure of `fvlm runs compare --plot`."""

EFFECTS = {
    "A1-shallow": 0.034,
    "A2-query-192": 0.004,
    "A3-bias": 0.019,
    "A5-frozen": 0.061,
    "D1-video": -0.047,
}
"""What each ablation does to the loss, in nats a token."""

PICTURES = DOCS / "images" / "gallery"
PAGE = DOCS / "gallery.md"

SIZES = {"20M": 2e7, "45M": 4.5e7, "100M": 1e8, "220M": 2.2e8, "500M": 5e8}

WIDTH = 760
"""Pixels of a picture of both columns, or of a whole slide, on the page."""

SHADES = 160
"""Colours of a picture: enough for lines and letters, and half of the bytes."""


def _loss(n: object, d: object) -> np.ndarray:
    return 1.7 + 400 / np.asarray(n) ** 0.34 + 410 / np.asarray(d) ** 0.28


def runs() -> pd.DataFrame:
    """A run a size, twelve evaluations each."""
    rng = np.random.default_rng(7)
    rows = [
        {"run": f"r{size}", "size": size, "N": n, "D": d, "C": 6 * n * d}
        for size, n in SIZES.items()
        for d in np.geomspace(2e7, 2e9, 12)
    ]
    table = pd.DataFrame(rows)
    return table.assign(loss=_loss(table["N"], table["D"]) * (1 + 0.006 * rng.standard_normal(len(table))))


def budgets() -> pd.DataFrame:
    """Runs of equal compute, a parabola a budget."""
    rng = np.random.default_rng(8)
    rows = [
        {"N": n, "D": c / (6 * n), "C": c}
        for c in (1e17, 4e17, 1.6e18, 6.4e18)
        for n in 2.4e7 * (c / 1e17) ** 0.45 * np.geomspace(0.25, 4, 7)
    ]
    table = pd.DataFrame(rows)
    return table.assign(loss=_loss(table["N"], table["D"]) * (1 + 0.001 * rng.standard_normal(len(table))))


def rates() -> pd.DataFrame:
    """Sweeps of the learning rate, one a size."""
    rng = np.random.default_rng(9)
    rows = [
        {"run": f"{size}-{lr:.0e}", "size": size, "N": n, "D": 1e9, "lr": lr,
         "loss": _loss(n, 1e9) * (1 + 0.012 * np.log(lr / (3e-3 * (n / 2e7) ** -0.4)) ** 2)}
        for size, n in SIZES.items()
        for lr in 3e-3 * (n / 2e7) ** -0.4 * np.geomspace(0.25, 4, 7)
    ]  # fmt: skip
    table = pd.DataFrame(rows)
    return table.assign(loss=table["loss"] * (1 + 0.0007 * rng.standard_normal(len(table))))


def fitted() -> dict[str, list[fvlm.FitResult]]:
    """What each kind of figure is drawn of; those that are not named, of two laws of the same runs."""
    both = [fvlm.fit(runs(), law, draws=300) for law in ("per-size", "joint-chinchilla")]
    joint = both[1:]
    return {
        "": joint,
        "loss-data": both,
        "parameter-pairs": joint,
        "isoflop": [fvlm.fit(budgets(), "isoflop", draws=300)],
        "lr-sweep": [fvlm.fit(rates(), "lr-optimum", draws=300)],
    }


def ablations() -> ComparisonTable:
    """A baseline and five ablations of four seeds each, whose noise is a third of the middle effect, and one of one."""
    rng = np.random.default_rng(10)
    with tempfile.TemporaryDirectory() as folder:
        for order, (name, effect) in enumerate({"baseline": 0.0, **EFFECTS, "A6-coarse": 0.028}.items()):
            for seed in range(1 if name == "A6-coarse" else 4):
                shift = effect + 0.006 * rng.standard_normal()
                samples = validation(shift, 0.05, seed=97 * order + seed)
                own = {"query_dim": 384 - order}
                run = f"phase/{name}-s{seed}"
                write_run(Path(folder), run, seed=42 + seed, samples=samples, order=order, connector=own)
        return table(compare(list_runs(Path(folder))))


def draw(results: dict[str, list[fvlm.FitResult]], look: Look) -> Iterator[tuple[str, str]]:
    """Every figure in one look: its name and its caption."""
    for name in names():
        reports = [one.report for one in results.get(name, results[""])]
        folder = PICTURES / look.name
        drawn = draw_figures(reports, [name], folder, ("png",), look)
        if drawn.nothing:
            raise SystemExit(f"{name}: nothing to draw: {drawn.nothing[name]}")
        yield name, _small(drawn.files, look)
    compared = [ablations()]
    yield ABLATIONS, _small(ablations_plot(compared, PICTURES / look.name / f"{ABLATIONS}.png", look), look)


def _small(files: Sequence[Path], look: Look) -> str:
    """Make the picture one for a page; its caption, whose files go."""
    picture, text, latex = files
    caption = text.read_text(encoding="utf-8")
    text.unlink()
    latex.unlink()
    with Image.open(picture) as image:
        wide = round(WIDTH * image.width / look.dpi * 25.4 / look.page)
        small = image.convert("RGB").resize(
            (wide, round(image.height * wide / image.width)), Image.Resampling.LANCZOS
        )
    small.quantize(SHADES, dither=Image.Dither.NONE).save(picture, optimize=True)
    return caption


HEAD = """# Figures

Every kind of figure that `fvlm fit --figures` draws, and the one of `fvlm runs compare --plot`, as it looks in the
columns of a paper (`--style paper`, 84 or 174 mm), on a slide (`--style slide`, for a frame of 160 x 90 mm) and on a
screen. Points are made by known laws, with noise; `python docs/_ext/gallery.py` draws the page anew.

<!-- parse -->
```sh
fvlm fit --data points.csv --style paper --plot law.pdf --figures all
fvlm runs compare phase1a --style paper --plot ablations.pdf
```

What a figure shows is written beside it, as text and for LaTeX (`\\input{figures/loss-data-caption}`), and never into
it. A figure that has nothing to show is no file: the command says why. From Python the same law, or comparison, is
[an `Axes` to go on with](reference/python.md#laws).
"""


def page(captions: dict[str, str]) -> str:
    """The page: a heading a figure, its caption, and the three pictures."""
    parts = [HEAD]
    for name, caption in captions.items():
        parts.append(f"\n## {name}\n")
        parts += [
            f"![{name}, {look}](images/gallery/{look}/{name}.png)\n\n*{said}*\n"
            for look, said in (("paper", "Paper"), ("slide", "Slide"), ("screen", "Screen"))
        ]
        parts.append("\n".join(f"> {line}".rstrip() for line in _plain(caption).splitlines()) + "\n")
    return "\n".join(parts)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is."""
    return "".join(f"\\{mark}" if mark in "*_^<>[]#|`" else mark for mark in text).strip()


if __name__ == "__main__":
    found = fitted()
    captions: dict[str, str] = {}
    for each in LOOKS.values():
        captions |= dict(draw(found, each))
    PAGE.write_text(page(captions), encoding="utf-8")
    files = sorted(PICTURES.rglob("*.png"))
    print(f"{len(files)} pictures, {sum(file.stat().st_size for file in files) / 1e3:.0f} kB: {PAGE}")
