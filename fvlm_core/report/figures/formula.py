"""Formulae as people type them, `L = E + A/N^alpha`, as mathematics: for matplotlib's mathtext and for LaTeX."""

from __future__ import annotations

import re
from functools import cache

GREEK = (
    "alpha",
    "beta",
    "gamma",
    "delta",
    "eta",
    "lambda",
    "mu",
    "sigma",
    "tau",
    "phi",
    "rho",
    "theta",
    "kappa",
)

_FUNCTIONS = ("exp", "ln", "log", "sum", "min", "max")

_TOKEN = re.compile(
    r"(?P<name>[A-Za-z][A-Za-z0-9]*)(?P<star>\*(?=\s|\(C\)|$|,))?|(?P<number>\d+(?:\.\d+)?(?:e-?\d+)?)"
    r"|(?P<space>\s+)|(?P<mark>.)"
)


@cache
def formula(text: str) -> str:
    """`$L=E+A/N^{\\alpha}$`; the text itself where it is no formula that mathtext can set."""
    found = _math(text)
    if found is None:
        return text
    from matplotlib.mathtext import MathTextParser

    try:
        MathTextParser("path").parse(f"${found}$")
    except Exception:  # pyparsing's, which matplotlib hands on or wraps, by version
        return text
    return f"${found}$"


def symbol(name: str) -> str:
    """A parameter's name: `$\\alpha$`; "floor[135M]" with its group as it is."""
    base, bracket, group = name.partition("[")
    group = group.replace("$", r"\$")
    return formula(base) + bracket + group if re.fullmatch(r"[A-Za-z]\w*", base) else name


def _math(text: str) -> str | None:
    """The formula without its dollars; None for marks that no formula has."""
    out: list[str] = []
    at = 0
    while at < len(text):
        if text[at] == "^" or text[at] == "_":
            end = _raised(text, at + 1)
            inner = text[at + 1 : end]
            below = text[at] == "_" or inner.startswith("(") or "(" not in inner
            inside = _math(inner[1:-1] if inner.startswith("(") and inner.endswith(")") and below else inner)
            if inside is None:
                return None
            out.append(f"{text[at]}{{{inside}}}")
            at = end
            continue
        token = _TOKEN.match(text, at)
        assert token is not None  # every character is a mark
        written = _written(token)
        if written is None:
            return None
        out.append(written)
        at = token.end()
    return "".join(out)


def _raised(text: str, at: int) -> int:
    """Where what is raised, or lowered, ends: a sign and a name, a number, or brackets."""
    if at < len(text) and text[at] in "+-":
        at += 1
    if at < len(text) and text[at] == "(":
        return _closed(text, at)
    word = re.compile(r"\w[A-Za-z0-9]*").match(text, at)
    if word is None:
        return min(at + 1, len(text))
    # exp(...) in an exponent has its brackets with it
    return (
        _closed(text, word.end()) if word[0] in _FUNCTIONS and text[word.end() :][:1] == "(" else word.end()
    )


def _closed(text: str, at: int) -> int:
    depth = 0
    for place in range(at, len(text)):
        depth += {"(": 1, ")": -1}.get(text[place], 0)
        if depth == 0:
            return place + 1
    return len(text)


def _written(token: re.Match[str]) -> str | None:
    if token["name"]:
        return _name(token["name"]) + ("^{*}" if token["star"] else "")
    if token["number"]:
        return token["number"]
    if token["space"]:
        return " "
    mark = token["mark"]
    if mark == "*":
        return r"\,"
    return mark if mark in "+-=/(),.'[]<>|:;" else None


def _name(name: str) -> str:
    if name in GREEK:
        return f"\\{name} "
    if name in _FUNCTIONS:
        return f"\\{name} "
    if len(name) == 1:
        return name
    if found := re.fullmatch(r"([A-Za-z])(\d+|[A-Z]|c)", name):  # L0, aN, Nc
        return f"{found[1]}_{{{found[2]}}}"
    return rf"\mathrm{{{name}}}"
