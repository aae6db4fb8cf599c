"""Parameters that are given, tied to others, or bounded otherwise than the law's author chose."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from attrs import evolve, frozen

from fvlm_core.interfaces.fit import FitModel, Parameter
from fvlm_core.utils.arithmetic import Arithmetic
from fvlm_core.utils.errors import UsageError
from fvlm_registry.nearest import did_you_mean


@frozen
class Constraints:
    """What a user asks of a law's parameters, as written: "alpha=0.34" or "beta=alpha", and "E=0:2" for bounds."""

    fixed: tuple[str, ...] = ()
    bounds: tuple[str, ...] = ()

    def apply(self, model: FitModel) -> FitModel:
        """The law with these parameters given, tied or bounded. Raises `UsageError` for what it does not understand."""
        parameters = {parameter.name: parameter for parameter in model.parameters}
        for text in self.fixed:
            name, value = _split(text, "--fix", "NAME=VALUE or NAME=EXPRESSION", parameters, model)
            try:
                number = float(value)
            except ValueError:
                parameters[name] = evolve(parameters[name], expr=_expression(value, name, text, parameters))
                continue
            if not np.isfinite(number):
                raise UsageError(f'--fix: "{text}": expected a finite number')
            parameters[name] = evolve(
                parameters[name], guess=number, vary=False, min=-np.inf, max=np.inf, log=False
            )
        for text in self.bounds:
            name, value = _split(text, "--bounds", "NAME=LOW:HIGH", parameters, model)
            parameters[name] = _bounded(parameters[name], value, text)
        return evolve(model, parameters=tuple(parameters.values()))


def freed(model: FitModel) -> FitModel:
    """The law as a function of its free parameters alone. Raises `UsageError` when none is left."""
    given = [parameter for parameter in model.parameters if parameter.expr or not parameter.vary]
    if not given:
        return model
    free = [parameter for parameter in model.parameters if parameter not in given]
    if not free:
        raise UsageError(f"fit {model.name}: every parameter is given; there is nothing to fit")
    complete = completion(model)

    def law(*inputs: Any, **values: Any) -> Any:
        return model.law(*inputs, **complete(values))

    def gradient(*inputs: Any, **values: Any) -> Mapping[str, Any]:
        assert model.gradient is not None
        return model.gradient(*inputs, **complete(values))

    law.__doc__ = model.form
    own = inspect.signature(model.law)
    names = {parameter.name for parameter in given}
    law.__signature__ = own.replace(  # type: ignore[attr-defined]
        parameters=[argument for argument in own.parameters.values() if argument.name not in names]
    )
    tied = any(parameter.expr for parameter in given)
    return evolve(
        model,
        law=law,
        parameters=tuple(free),
        gradient=None if tied or model.gradient is None else gradient,
        reduced=None,
    )


def completion(model: FitModel) -> Callable[[Mapping[str, Any]], dict[str, Any]]:
    """A function from the free parameters' values, [S, 1] or [S, n] each, to those of all parameters."""
    fixed = {p.name: p.guess for p in model.parameters if not p.vary and not p.expr}
    tied = {p.name: p.expr for p in model.parameters if p.expr}

    def complete(values: Mapping[str, Any]) -> dict[str, Any]:
        sets = max((len(value) for value in values.values()), default=1)
        out = {**values, **{name: np.full((sets, 1), value) for name, value in fixed.items()}}
        if tied:
            from asteval import Interpreter  # lmfit's own language of expressions

            evaluate = Interpreter(minimal=True, user_symbols=out)
            for name, expression in tied.items():
                out[name] = evaluate(expression, show_errors=False, raise_errors=True)
        return out

    return complete


def _split(
    text: str, option: str, form: str, parameters: Mapping[str, Parameter], model: FitModel
) -> tuple[str, str]:
    name, separator, value = (part.strip() for part in text.partition("="))
    if not separator or not value:
        raise UsageError(f'{option}: expected {form}, got "{text}"')
    if name not in parameters:
        raise UsageError(
            f'{option}: fit "{model.name}" has no parameter "{name}"{did_you_mean(name, list(parameters))}\n'
            f"  its parameters: {', '.join(parameters)}"
        )
    return name, value


def _expression(value: str, name: str, text: str, parameters: Mapping[str, Parameter]) -> str:
    others = [other for other in parameters if other != name]
    found = Arithmetic.parse(value)
    words = set[str]() if found is None else found.words
    unknown = sorted(words - set(others))
    if found is None or unknown or not words:
        raise UsageError(
            f'--fix: "{text}": expected a number, or an expression of {", ".join(others)}'
            + (f"; {unknown[0]} is not one of them" if unknown else "")
        )
    if any(parameters[word].expr for word in words):
        raise UsageError(f'--fix: "{text}": tied to a parameter that is itself tied')
    guesses = {word: parameters[word].guess for word in words}
    with np.errstate(all="ignore"):
        begun = found.value(guesses)
    if not np.isfinite(begun):
        at = ", ".join(f"{word} = {guess:g}" for word, guess in guesses.items())
        raise UsageError(f'--fix: "{text}": no finite number at {at}, where the fit begins')
    return value


def _bounded(parameter: Parameter, value: str, text: str) -> Parameter:
    ends: Sequence[str] = [end.strip() for end in value.split(":")]
    widest = (0.0 if parameter.log else -np.inf, np.inf)
    try:
        low, high = (float(end) if end else bound for end, bound in zip(ends, widest, strict=True))
    except ValueError:
        raise UsageError(f'--bounds: expected NAME=LOW:HIGH (either may be left out), got "{text}"') from None
    if not low < high or (parameter.log and low < 0):
        least = ", LOW at least 0" if parameter.log else ""
        raise UsageError(f'--bounds: "{text}": expected LOW < HIGH{least}')
    guess = float(np.clip(parameter.guess, low, high)) or (high / 2 if np.isfinite(high) else 1.0)
    return evolve(parameter, min=low, max=high, guess=guess)
