"""The 31 laws of ScaleBench's four tasks (Li et al. 2026, arXiv 2604.22753), a formula each, as a plugin's author
writes them: a function of columns, a docstring with the formula, and parameters with guesses and bounds.

Columns are in units near what is usually run (a billion tokens, 100 million parameters), so that a scale A is what
its term makes of the loss there. Guesses and bounds are wide and alike for terms of one kind; none was chosen by a
result.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from math import inf
from typing import Any

import numpy as np

from fvlm_core.plugin_api import FitModel, Parameter, Variable


def floor(name: str) -> Parameter:
    """The loss that is left in the end, in nats a token."""
    return Parameter(name, 1.7, 0.0, 5.0, linear=True)


def level(name: str) -> Parameter:
    """The same of a loss that is measured against a unigram model's, and so negative."""
    return Parameter(name, -5.0, -10.0, 5.0, linear=True)


def scale(name: str, guess: float = 1.0) -> Parameter:
    """What a term makes of the loss at the reference point; positive."""
    return Parameter(name, guess, 0.0, inf, log=True, linear=True)


def factor(name: str, guess: float = 1.0) -> Parameter:
    """A positive scale in which the law is not linear."""
    return Parameter(name, guess, guess * 1e-3, guess * 1e3, log=True)


def signed(name: str, guess: float = 0.1) -> Parameter:
    """A coefficient of either sign."""
    return Parameter(name, guess, -10.0, 10.0, linear=True)


def decay(name: str, guess: float = 0.3) -> Parameter:
    """An exponent by which a term falls."""
    return Parameter(name, guess, 0.05 if guess > 0.1 else 0.02, 1.5, log=True)


def growth(name: str, guess: float = -0.3) -> Parameter:
    """An exponent as it stands in the formula, falling terms negative."""
    return Parameter(name, guess, -1.5, -0.01)


def either(name: str, guess: float = 0.1) -> Parameter:
    """An exponent of either sign."""
    return Parameter(name, guess, -1.0, 1.0)


def norm(name: str, guess: float = 1.0) -> Parameter:
    """How sharply one limit gives way to another: the exponent of a power mean."""
    return Parameter(name, guess, 0.2, 5.0, log=True)


def repeated(unique: Any, tokens: Any, worth: Any) -> Any:
    """What tokens are worth of which so many are unique (Muennighoff et al. 2023, equation 5)."""
    seen = np.minimum(unique, tokens)
    again = np.maximum(tokens / seen - 1, 0)
    return seen * (1 + worth * (1 - np.exp(-again / worth)))


# data_constrained


def dc1(u, n, d, *, A, a, B, b, E, g, h):
    """A/N^a + B/D^b + E U^g N^h"""
    return A / n**a + B / d**b + E * u**g * n**h


def dc2(u, n, d, *, a, b, p, c, q, e, r):
    """a + b U^p + c N^q + e D^r"""
    return a + b * u**p + c * n**q + e * d**r


def dc3(u, n, d, *, E, A, B, a, RN, RD):
    """E + A/N'^a + B/D'^a, D' and N' worth what repetition leaves of them"""
    best = u * (A / B) ** (1 / a)
    return E + A / repeated(best, n, RN) ** a + B / repeated(u, d, RD) ** a


def dc4(u, n, d, *, L0, A, a, B, b, R):
    """L0 + A N^-a + B T^-b, T the tokens' worth after repetition"""
    return L0 + A * n**-a + B * repeated(u, d, R) ** -b


def dc5(u, n, d, *, A, a, B, b, g, E):
    """A/N^a + B/(U^g D^(1-g))^b + E"""
    return A / n**a + B / (u**g * d ** (1 - g)) ** b + E


def dc6(u, n, d, *, E, A, a, B, b, C, c, h):
    """E + A N^-a + B (D / (1 + C max(D/U - 1, 0)^c N^h))^-b"""
    over = np.maximum(d / u - 1, 1e-12)
    return E + A * n**-a + B * (d / (1 + C * over**c * n**h)) ** -b


def dc7(u, n, d, *, L0, A, p, B, t, C, q):
    """L0 + A (N U)^p + B D^t + C N^q"""
    return L0 + A * (n * u) ** p + B * d**t + C * n**q


def dc8(u, n, d, *, a, b, p, c, q, e, g):
    """a + b/D^p + c/N^q + e |log(U/D + 1)|^g"""
    return a + b / d**p + c / n**q + e * np.abs(np.log(u / d + 1)) ** g


def dc9(u, n, d, *, A, a, B, b, C, g, L0):
    """A/N^a + B/D^b (1 + C/U^g) + L0"""
    return A / n**a + B / d**b * (1 + C / u**g) + L0


def dc10(u, n, d, *, L0, A, a, B, b, k, q):
    """L0 + A N^-a + B (D^(-b q) + (k U)^(-b q))^(1/q)"""
    return L0 + A * n**-a + B * (d ** (-b * q) + (k * u) ** (-b * q)) ** (1 / q)


# vocab


def vo1(p, v, d, *, c, A, b, e, g):
    """c + A V^b P^e D^g"""
    return c + A * v**b * p**e * d**g


def vo2(p, v, d, *, L, A, a, b, r, C, w):
    """L + A M_r(P^-a, D^-b) (1 + C (ln V - w)^2)"""
    mean = ((p ** (-a * r) + d ** (-b * r)) / 2) ** (1 / r)
    return L + A * mean * (1 + C * (np.log(v) - w) ** 2)


def vo3(p, v, d, *, L0, a, s, q, b, f, t):
    """L0 + ((a P^-s)^q + (b (D V^f)^-t)^q)^(1/q)"""
    return L0 + ((a * p**-s) ** q + (b * (d * v**f) ** -t) ** q) ** (1 / q)


def vo4(p, v, d, *, L0, A, a, m, b, h, g):
    """L0 + A max(P^a, m D^b)^-h V^-g"""
    return L0 + A * np.maximum(p**a, m * d**b) ** -h * v**-g


def vo5(p, v, d, *, p0, p1, p2, p3, p4, p5, p6):
    """p0 P^p1 V^p2 D^p3 + p4 P^p5 + p6"""
    return p0 * p**p1 * v**p2 * d**p3 + p4 * p**p5 + p6


def vo6(p, v, d, *, A, k, a, B, m, b, c):
    """A (P V^k)^-a + B (D V^m)^-b + c"""
    return A * (p * v**k) ** -a + B * (d * v**m) ** -b + c


def vo7(p, v, d, *, A, a, b, B, g, h, c):
    """A P^-a D^-b + B V^g D^-h + c"""
    return A * p**-a * d**-b + B * v**g * d**-h + c


def vo8(p, v, d, *, c0, c1, b, c2, a, c3, g):
    """c0 + c1 ln V + V^b (c2 P^-a + c3 D^-g)"""
    return c0 + c1 * np.log(v) + v**b * (c2 * p**-a + c3 * d**-g)


def vo9(p, v, d, *, A, a, b, g, h, e, L0):
    """A P^-a D^-b (1 + g ln V) + h V^e + L0"""
    return A * p**-a * d**-b * (1 + g * np.log(v)) + h * v**e + L0


def vo10(p, v, d, *, L0, a, b, c, h, e, f):
    """L0 + exp(a + b ln P + c ln V + h ln^2 V + e ln D + f ln V ln D)"""
    P, V, D = np.log(p), np.log(v), np.log(d)
    return L0 + np.exp(np.minimum(a + b * P + c * V + h * V**2 + e * D + f * V * D, 50.0))


# moe


def mo1(n, x, *, L0, B, a, b):
    """L0 + B/(N^a E^b)"""
    return L0 + B / (n**a * x**b)


def mo2(n, x, *, L, K, a, b, g):
    """L + K (N^a E^b)^-g"""
    return L + K * (n**a * x**b) ** -g


def mo3(n, x, *, A, a, B, b, C, D):
    """A N^a/(1 + B E^b) + C N^(.6 a) + D"""
    return A * n**a / (1 + B * x**b) + C * n ** (0.6 * a) + D


def mo4(n, x, *, a, p, b, g, c, h):
    """a/(N^p (1 + b E)^g) + c + h (ln N - .4 ln(1 + E))"""
    return a / (n**p * (1 + b * x) ** g) + c + h * (np.log(n) - 0.4 * np.log(1 + x))


def mo5(n, x, *, p0, p1, p2, p3, p4, p5):
    """p0 + exp(p1 + p2 ln E + p3 ln N + p4 ln E ln N) + p5 ln E"""
    E, N = np.log(x), np.log(n)
    return p0 + np.exp(np.minimum(p1 + p2 * E + p3 * N + p4 * E * N, 50.0)) + p5 * E


def mo6(n, x, *, a, b, c, h, e, f):
    """a N^-b (1 + c E^-h) + e + f/(E N^.05)"""
    return a * n**-b * (1 + c * x**-h) + e + f / (x * n**0.05)


def mo7(n, x, *, p0, p1, p2, p3, p4, p5):
    """p0 E^p1 N^p2 + p3 N^p4 + p5"""
    return p0 * x**p1 * n**p2 + p3 * n**p4 + p5


def mo8(n, x, *, a, b, c, h):
    """a N^b E^c + h"""
    return a * n**b * x**c + h


def mo9(n, x, *, c, A, g, a):
    """c + A (N E^g)^-a"""
    return c + A * (n * x**g) ** -a


def mo10(n, x, *, b, A, a, B, g, h):
    """b + A N^-a ((1 + B E^g)/(1 + B))^-h"""
    return b + A * n**-a * ((1 + B * x**g) / (1 + B)) ** -h


# farseer


def farseer(n, d, *, s, q, S, B, b, Q, A, a, E):
    """exp(s N^q + S) + exp(B N^b + Q) D^(-exp(A N^a + E))"""
    steep = np.exp(np.clip(A * n**a + E, -10, 5))
    tall = np.clip(B * n**b + Q, -50, 50)
    return np.exp(np.clip(s * n**q + S, -50, 50)) + np.exp(np.clip(tall - steep * np.log(d), -50, 50))


def in_units(law: Callable[..., Any], units: tuple[float, ...]) -> Callable[..., Any]:
    """The law of columns as they are measured, its own arguments being so many of a unit."""

    @wraps(law)
    def scaled(*columns: Any, **parameters: Any) -> Any:
        return law(*(column / unit for column, unit in zip(columns, units, strict=True)), **parameters)

    return scaled


VARIABLES = {
    "data_constrained": (Variable("u", "tokens", "unique tokens", headers=("unique_tokens",)),),
    "vocab": (
        Variable("p", meaning="parameters outside the vocabulary", headers=("non_vocab_parameters",)),
        Variable("v", "tokens", "vocabulary", headers=("vocab_size",)),
        Variable("d", "characters", headers=("num_characters",)),
        Variable("loss", "nats a character", positive=False, headers=("unigram_normalized_loss",)),
    ),
    "moe": (Variable("x", meaning="experts", headers=("num_experts",)),),
    "farseer": (),
}
"""The columns that the laws of a task declare, beside those of every point."""

UNITS = {
    "data_constrained": (1e9, 1e8, 1e9),
    "vocab": (1e8, 1e4, 1e9),
    "moe": (1e8, 1.0),
    "farseer": (1e9, 1.0),
}
"""Of the laws' arguments, in their order."""

FORMULAS: dict[str, tuple[tuple[Callable[..., Any], tuple[Parameter, ...]], ...]] = {
    "data_constrained": (
        (
            dc1,
            (
                scale("A"),
                decay("a"),
                scale("B"),
                decay("b"),
                scale("E"),
                either("g", -0.1),
                either("h", -0.1),
            ),
        ),
        (dc2, (floor("a"), signed("b"), growth("p"), scale("c"), growth("q"), scale("e"), growth("r"))),
        (dc3, (floor("E"), factor("A"), factor("B"), decay("a"), factor("RN", 5.0), factor("RD", 15.0))),
        (dc4, (floor("L0"), scale("A"), decay("a"), scale("B"), decay("b"), factor("R", 15.0))),
        (dc5, (scale("A"), decay("a"), scale("B"), decay("b"), Parameter("g", 0.3, 0.0, 1.0), floor("E"))),
        (
            dc6,
            (
                floor("E"),
                scale("A"),
                decay("a"),
                scale("B"),
                decay("b"),
                factor("C", 0.1),
                Parameter("c", 1.0, 0.1, 3.0),
                either("h"),
            ),
        ),
        (dc7, (floor("L0"), signed("A"), growth("p"), scale("B"), growth("t"), scale("C"), growth("q"))),
        (
            dc8,
            (
                floor("a"),
                scale("b"),
                decay("p"),
                scale("c"),
                decay("q"),
                signed("e"),
                Parameter("g", 1.0, -1.0, 3.0),
            ),
        ),
        (dc9, (scale("A"), decay("a"), scale("B"), decay("b"), factor("C", 0.3), decay("g"), floor("L0"))),
        (dc10, (floor("L0"), scale("A"), decay("a"), scale("B"), decay("b"), factor("k", 5.0), norm("q"))),
    ),
    "vocab": (
        (vo1, (level("c"), scale("A"), either("b"), growth("e"), growth("g"))),
        (
            vo2,
            (
                level("L"),
                scale("A"),
                decay("a"),
                decay("b"),
                norm("r"),
                Parameter("C", 0.01, -0.2, 0.2),
                Parameter("w", 0.0, -5.0, 5.0),
            ),
        ),
        (vo3, (level("L0"), factor("a"), decay("s"), norm("q"), factor("b"), either("f"), decay("t"))),
        (vo4, (level("L0"), scale("A"), decay("a"), factor("m"), decay("b"), decay("h", 0.7), either("g"))),
        (
            vo5,
            (scale("p0"), growth("p1"), either("p2"), growth("p3"), scale("p4"), growth("p5"), level("p6")),
        ),
        (vo6, (scale("A"), either("k"), decay("a"), scale("B"), either("m"), decay("b"), level("c"))),
        (vo7, (scale("A"), decay("a"), decay("b"), scale("B"), either("g"), decay("h"), level("c"))),
        (vo8, (level("c0"), signed("c1"), either("b"), scale("c2"), decay("a"), scale("c3"), decay("g"))),
        (
            vo9,
            (
                scale("A"),
                decay("a"),
                decay("b"),
                Parameter("g", 0.1, -0.5, 0.5),
                signed("h"),
                either("e"),
                level("L0"),
            ),
        ),
        (
            vo10,
            (
                level("L0"),
                Parameter("a", 0.0, -5.0, 5.0),
                growth("b"),
                either("c"),
                Parameter("h", 0.0, -0.5, 0.5),
                growth("e"),
                Parameter("f", 0.0, -0.5, 0.5),
            ),
        ),
    ),
    "moe": (
        (mo1, (floor("L0"), scale("B"), decay("a"), decay("b", 0.1))),
        (mo2, (floor("L"), scale("K"), decay("a"), decay("b", 0.1), decay("g", 0.7))),
        (mo3, (scale("A"), growth("a"), factor("B", 0.3), decay("b"), scale("C"), floor("D"))),
        (mo4, (scale("a"), decay("p"), factor("b", 0.3), decay("g"), floor("c"), signed("h", -0.1))),
        (
            mo5,
            (
                floor("p0"),
                Parameter("p1", 0.0, -5.0, 5.0),
                either("p2", -0.1),
                growth("p3"),
                Parameter("p4", 0.0, -0.5, 0.5),
                signed("p5", -0.1),
            ),
        ),
        (mo6, (scale("a"), decay("b"), factor("c", 0.3), decay("h"), floor("e"), signed("f"))),
        (mo7, (scale("p0"), growth("p1", -0.1), growth("p2"), scale("p3"), growth("p4"), floor("p5"))),
        (mo8, (scale("a"), growth("b"), growth("c", -0.1), floor("h"))),
        (mo9, (floor("c"), scale("A"), either("g", 0.3), decay("a"))),
        (mo10, (floor("b"), scale("A"), decay("a"), factor("B", 0.3), decay("g"), decay("h"))),
    ),
    "farseer": (
        (
            farseer,
            (
                Parameter("s", -0.7, -5.0, 5.0),
                Parameter("q", 0.17, -1.0, 1.0),
                Parameter("S", 0.0, -5.0, 5.0),
                Parameter("B", 10.0, 0.0, 30.0),
                Parameter("b", -0.1, -1.0, 1.0),
                Parameter("Q", -5.0, -20.0, 20.0),
                Parameter("A", -1.6, -5.0, 5.0),
                Parameter("a", 0.12, -1.0, 1.0),
                Parameter("E", 0.4, -5.0, 5.0),
            ),
        ),
    ),
}
"""Formulas and parameters by task."""

LAWS = {
    task: tuple(
        FitModel(f"{task}-{at}", in_units(law, UNITS[task]), parameters, variables=VARIABLES[task])
        for at, (law, parameters) in enumerate(formulas, start=1)
    )
    for task, formulas in FORMULAS.items()
}
"""The laws by task."""
