"""The worse answer of a preference pair: the caption of a scene that differs in one thing."""

from __future__ import annotations

from random import Random

from attrs import evolve

from fvlm_shapes.draw import COLOURS, GLYPHS
from fvlm_shapes.draws import pick, rank_pick
from fvlm_shapes.scenes import Easy, Scene

_COLOURS = tuple(COLOURS)


def worse(scene: Scene, random: Random) -> str:
    """A caption that is wrong in one word: of an easy scene, a colour or a glyph; of another, the word for one frame.

    random: decides which, and what it says instead.
    """
    if isinstance(scene, Easy):
        return _other(scene, random).caption()
    words = scene.caption().split()
    place = pick(random, range(len(words)))
    kind = _COLOURS if words[place] in COLOURS else GLYPHS
    words[place] = rank_pick(random, kind, but=words[place])
    return " ".join(words)


def _other(scene: Easy, random: Random) -> Easy:
    what = pick(random, ("sky", "ground", "colour", "glyph"))
    if what in ("sky", "ground"):
        return evolve(scene, **{what: rank_pick(random, _COLOURS, but=getattr(scene, what))})
    number = pick(random, range(len(scene.movers)))
    mover = scene.movers[number]
    choices = _COLOURS if what == "colour" else GLYPHS
    changed = evolve(mover, **{what: rank_pick(random, choices, but=getattr(mover, what))})
    return evolve(scene, movers=(*scene.movers[:number], changed, *scene.movers[number + 1 :]))
