"""A known truth that a campaign is played against: a law with values, and how runs scatter about it."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from attrs import frozen

from fvlm_core.interfaces.fit import FitModel
from fvlm_core.scaling.campaign.belief import check_campaign_law
from fvlm_core.scaling.campaign.offers import Offer
from fvlm_core.scaling.fit.fitting import load_model
from fvlm_core.scaling.fit.noise import ASSUMED
from fvlm_core.utils.atomic_files import read_json
from fvlm_core.utils.errors import UsageError
from fvlm_core.utils.listing import listed
from fvlm_core.utils.parse_number import parse_count
from fvlm_registry.nearest import did_you_mean

NOISE = "noise"
"""The key of the scatter, beside a law's parameters."""

EXAMPLE = "joint-chinchilla:E=1.7,A=400,B=410,alpha=.34,beta=.28,noise=.005"


@frozen(eq=False)
class Truth:
    """values: of the law's parameters. noise: standard deviation of ln L from run to run."""

    law: FitModel
    values: dict[str, float]
    noise: float

    def loss(self, n: float, d: float) -> float:
        """Without noise."""
        columns = {"n": np.array([n], float), "d": np.array([d], float)}
        read = [columns[name] for name in self.law.inputs]
        return float(np.asarray(self.law.law(*read, **self.values)).ravel()[0])

    def measured(self, runs: Sequence[Offer], seed: int = 0) -> dict[str, float]:
        """Losses of runs; what a run scatters by depends on its id alone, not on when it is made."""
        return {
            one.run: self.loss(one.n, float(one.d)) * float(np.exp(self.noise * _normal(one.run, seed)))
            for one in runs
        }

    def target(self, n: float, d: float, seed: int = 0) -> float:
        """The loss of one run of the target."""
        return self.loss(n, d) * float(np.exp(self.noise * _normal("target", seed)))


def _normal(run: str, seed: int) -> float:
    return float(np.random.default_rng([seed, zlib.crc32(run.encode())]).standard_normal())


def read_truth(text: str) -> Truth:
    """`LAW:parameter=value,...,noise=...`, or a file of `fvlm fit --json FILE`. Raises `UsageError`."""
    name, colon, rest = text.partition(":")
    if not colon or text.endswith(".json"):
        return _from_file(Path(text))
    law = _law(name.strip())
    values: dict[str, float] = {}
    known = [*(one.name for one in law.parameters), NOISE]
    for piece in rest.split(","):
        key, equals, number = (part.strip() for part in piece.partition("="))
        value = parse_count(number)
        if not equals or value is None:
            raise UsageError(f'--simulate: expected parameter=value, got "{piece.strip()}"; as in {EXAMPLE}')
        if key not in known:
            near = did_you_mean(key, known) or f"; it has {listed(known)}"
            raise UsageError(f'--simulate: {law.name} has no parameter "{key}"{near}')
        values[key] = value
    return _checked(law, values, "--simulate")


def _from_file(file: Path) -> Truth:
    try:
        record: Any = read_json(file)
    except FileNotFoundError:
        raise UsageError(
            f'--simulate: no such file "{file}"; expected a law with values ({EXAMPLE}), or a file of fvlm fit --json'
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"--simulate {file}: cannot be read: {error}") from None
    try:
        report = record["reports"][0] if "reports" in record else record
        law, (fit, *_) = _law(report["model"]), report["fits"]
        values = {name: float(one["value"]) for name, one in fit["parameters"].items()}
        values[NOISE] = float(fit["rmse"]) / _middle(record) if "points" in record else ASSUMED.run
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise UsageError(
            f"--simulate {file}: expected a file of fvlm fit --json with a law that was not refused ({error!r})"
        ) from None
    return _checked(law, values, f"--simulate {file}")


def _middle(record: Any) -> float:
    """The median loss of the points, which the root mean square of the residuals is a part of."""
    return float(np.median(record["points"]["table"]["loss"]))


def _law(name: str) -> FitModel:
    law = load_model(name)
    check_campaign_law(law)
    return law


def _checked(law: FitModel, values: dict[str, float], where: str) -> Truth:
    noise = values.pop(NOISE, ASSUMED.run)
    lacking = [one.name for one in law.parameters if one.name not in values]
    if lacking:
        raise UsageError(f"{where}: {law.name} takes {listed(lacking)} too; as in {EXAMPLE}")
    if not 0 <= noise < 1:
        raise UsageError(f"{where}: noise is a part of the loss, expected 0 to 1, got {noise:g}")
    return Truth(law, {one.name: values[one.name] for one in law.parameters}, noise)
