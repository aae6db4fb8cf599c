"""The report of a campaign: how its prediction narrowed, in its own numbers, and how it ended."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from run_folders import write_run

from fvlm_core.report.html import gather
from fvlm_core.report.html.page import fragments, page
from fvlm_core.runs.store import open_run
from fvlm_core.scaling.campaign.belief import Question
from fvlm_core.scaling.campaign.loop import play
from fvlm_core.scaling.campaign.offers import offers
from fvlm_core.scaling.campaign.record import Journal
from fvlm_core.scaling.campaign.truth import read_truth
from fvlm_core.scaling.fit.fitting import load_model
from fvlm_core.scaling.predict.cost import Size

pytestmark = pytest.mark.usefixtures("quick_fits")

SETTINGS = {"law": "joint-chinchilla", "target": {"N": 3.2e6, "D": 4e5}, "budget": 2e12, "within": 0.03}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a recipe with a complete run."""
    return write_run(tmp_path_factory.mktemp("store"), "p/a").parent


@pytest.fixture(scope="module")
def journal() -> Journal:
    """A campaign to its end."""
    sizes = [Size(f"{n:g}", n, 6.0 * n) for n in (1e5, 2e5, 4e5, 8e5, 1.6e6)]
    for_sale = tuple(offers(sizes, [1000 * 2**at for at in range(8)], 3, 2e12))
    asked = Question(load_model("joint-chinchilla"), 3.2e6, 4e5, 2e12, 0.03, for_sale)
    truth, found = read_truth("joint-chinchilla:E=1.2,A=60,B=30,alpha=.4,beta=.4,noise=.004"), Journal()
    play(asked, found, lambda one: truth.measured(one.runs), lambda _: None)
    return found


def content(store: Path, table: Any) -> Any:
    """What the page says with this `campaign.json`."""
    (store / "campaign.json").write_text(table if isinstance(table, str) else json.dumps(table))
    return gather([open_run(store / "a")], draw_fits=False)


def test_a_campaign_is_a_section_with_a_row_for_each_round_and_run(store: Path, journal: Journal) -> None:
    made = content(store, {"format": 1, "settings": SETTINGS, **journal.to_json()})
    section = next(one for one in made.sections if one.id == "campaign")
    (block,) = section.blocks
    (chart,) = block.charts
    findings = [one.finding for one in journal.rounds]
    rows = [[cell.text for cell in row] for row in chart.table.rows]
    assert [row[0] for row in rows] == [one.why for one in journal.rounds]
    assert [row[4] for row in rows] == [f"{one.loss:.4f}" for one in findings if one is not None]
    assert [row[7] for row in rows] == [f"{one.half_width:.2%}" for one in findings if one is not None]
    drawn = chart.series["campaign-0-0"]
    assert drawn["low"] == [one.low for one in findings if one is not None]
    assert np.all(np.diff(drawn["x"]) > 0)
    assert len(block.tables[0].rows) == len(journal.measured)
    assert "narrow enough" in made.lede
    assert made.state == "complete"
    assert "The prediction as it narrows" in page(made)


def test_while_it_goes_on_the_page_waits_and_says_where_it_stands(store: Path, journal: Journal) -> None:
    early = Journal(rounds=journal.rounds[:2])
    made = content(store, {"format": 1, "settings": SETTINGS, **early.to_json()})
    assert made.state == "waiting"
    assert "Campaign under way, round 2: predicted" in fragments(made)["lede"]


@pytest.mark.parametrize("text", ["", "[]", '{"format": 9}', '{"format": 1}'])
def test_a_record_that_cannot_be_read_is_named_and_the_page_is_made(text: str, store: Path) -> None:
    made = content(store, text)
    section = next(one for one in made.sections if one.id == "campaign")
    assert "cannot be read" in section.blocks[0].words[0]
    assert made.state == "complete"


def test_without_a_campaign_there_is_no_such_section(store: Path) -> None:
    (store / "campaign.json").unlink(missing_ok=True)
    made = gather([open_run(store / "a")], draw_fits=False)
    assert "campaign" not in [one.id for one in made.sections]
