"""The site in a real browser: no barrier, no request beyond itself, and a keyboard alone gets about."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import MODES, WIDTHS, Browser

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[2]
SITE, PICTURES = "FVLM_SITE", "FVLM_SITE_PICTURES"
"""Name the folder of a site that is built already, and one that screenshots are kept in, for people to look at."""

LOOKED_AT = ("index", "tutorial", "howto/scaling", "reference/recipe", "gallery")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests."""
    made = Browser()
    yield made
    made.driver.quit()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as it is published."""
    if SITE in os.environ:
        return Path(os.environ[SITE])
    pytest.importorskip("sphinx", reason="needs the extra docs")
    folder = tmp_path_factory.mktemp("site")
    subprocess.run(
        [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", ROOT / "docs", folder], check=True
    )
    return folder


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_page_has_no_barrier_and_asks_for_nothing_but_the_site(
    name: str, width: int, mode: str, browser: Browser, site: Path
) -> None:
    browser.forget()
    browser.show((site / f"{name}.html").as_uri(), width, mode, ready="document.readyState === 'complete'")
    if folder := os.environ.get(PICTURES):
        browser.picture(Path(folder) / f"{name.replace('/', '-')}-{width}-{mode}.png")
    assert browser.errors() == []
    assert [url for url in browser.requests() if not url.startswith(site.as_uri())] == []
    assert browser.ask("return document.documentElement.scrollWidth") <= width
    assert browser.barriers() == []


@pytest.mark.parametrize("name", LOOKED_AT)
def test_a_keyboard_alone_skips_to_the_text_and_reaches_every_link_of_it(
    name: str, browser: Browser, site: Path
) -> None:
    browser.show((site / f"{name}.html").as_uri(), ready="document.readyState === 'complete'")
    browser.press("Tab")
    assert browser.ask("return document.activeElement.textContent").strip() == "Skip to content"
    browser.press("Enter")
    article = "document.querySelector('article')"
    # Links to headings show when they are pointed at, and are no stops.
    wanted = browser.ask(f"""
        return [...{article}.querySelectorAll('a[href], button, [tabindex="0"]')]
          .filter((one) => one.checkVisibility({{ visibilityProperty: true }})).length""")
    reached = 0
    for _ in range(wanted + 40):
        browser.press("Tab")
        reached += browser.ask(f"return {article}.contains(document.activeElement)")
        if reached == wanted:
            break
    assert reached == wanted
