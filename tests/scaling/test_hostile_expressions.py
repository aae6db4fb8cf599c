"""What `--fix` and `--bounds` are given: arithmetic of parameters, or one error that says what is expected."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fvlm_core.scaling.fit.constraints import Constraints, completion
from fvlm_core.scaling.fit.fitting import load_model
from fvlm_core.utils.errors import UsageError

JOINT = load_model("joint-chinchilla")

NONSENSE = [
    *("beta/0", "beta=1/0", "beta=alpha/0", "E=E(A)", "E=A(A)", "beta=__import__", "beta=alpha +", "beta=e"),
    *("beta=__import__('os').system('true')", "beta=9**9**9**9", "beta=alpha*9**9**9**9", "beta=(alpha"),
    *("beta=alpha alpha", "beta=sqrt(-alpha)", "beta=exp(alpha*1e9)", "beta=log(0*alpha)", "beta=exp"),
    *(f"beta={'(' * 5000}alpha{')' * 5000}", f"beta={'-' * 100_000}alpha", f"beta={'9' * 5000}*alpha"),
    *(
        "beta=alpha.real",
        "beta=exp(alpha, alpha)",
        "beta=alpha//2",
        "beta=alpha%2",
        "beta=alpha if alpha else 1",
    ),
    *(
        "beta=[alpha]",
        "beta=alpha[0]",
        "beta=lambda: alpha",
        "beta=True*alpha",
        "beta='x'*alpha",
        "beta=alpha\n",
    ),
    *(
        "beta=1e999",
        "beta=nan",
        "beta=inf",
        "=",
        "beta=",
        "=alpha",
        "beta=beta",
        "",
        "beta=\x00",
        "beta=alpha;alpha",
    ),
]


@pytest.mark.parametrize("text", NONSENSE, ids=lambda text: repr(text)[:30])
def test_nonsense_is_one_error_with_what_is_expected(text: str) -> None:
    if text == "beta=alpha\n":  # a blank more is none
        assert Constraints((text,)).apply(JOINT)
        return
    with pytest.raises(UsageError, match=r"--fix"):
        Constraints((text,)).apply(JOINT)


@given(st.text(max_size=40), st.sampled_from(["beta=", "beta=alpha", "E=A*", ""]))
def test_any_text_is_an_error_or_a_law_with_finite_numbers(text: str, before: str) -> None:
    for constraints in (Constraints(fixed=(before + text,)), Constraints(bounds=(before + text,))):
        try:
            law = constraints.apply(JOINT)
        except UsageError:
            continue
        free = {p.name: np.array([[p.guess]]) for p in law.parameters if p.vary and not p.expr}
        assert all(np.size(value) for value in completion(law)(free).values())


@pytest.mark.parametrize(
    ("text", "value"), [("beta=alpha", 0.34), ("beta=2*alpha-0.1", 0.58), ("beta=exp(-alpha)", 0.7118)]
)
def test_arithmetic_of_parameters_is_taken(text: str, value: float) -> None:
    import numpy as np

    law = Constraints((text,)).apply(JOINT)
    free = {p.name: np.full((1, 1), 0.34) for p in law.parameters if p.vary and not p.expr}
    assert float(completion(law)(free)["beta"][0, 0]) == pytest.approx(value, rel=1e-3)
