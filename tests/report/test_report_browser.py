"""The report in a real browser: no errors, no requests, no barriers, at phone and desktop width, light and dark."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import MODES, WIDTHS, Browser
from run_folders import write_run
from tiny import fvlm

from fvlm_core.report.html import gather, page
from fvlm_core.report.watch import Board, Server, stamp_of
from fvlm_core.runs.metrics import MetricsWriter
from fvlm_core.runs.store import list_runs
from fvlm_core.utils.folder_lock import writing

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One for all tests."""
    opened = Browser()
    yield opened
    opened.driver.quit()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of `captions_small`, with a quarter of its samples (FVLM_REPORT: of one made before)."""
    if "FVLM_REPORT" in os.environ:
        return Path(os.environ["FVLM_REPORT"])
    folder = tmp_path_factory.mktemp("captions_small")
    cache = folder / "cache"
    recipe = str(Path(__file__).parents[2] / "recipes" / "captions_small.toml")
    for arguments in (
        ["run", recipe, "-o", "training.samples=2560"],
        ["report", "captions_small", "--gaze", "1", "--predictions", "1"],
    ):
        process = fvlm(*arguments, cwd=folder, cache=cache)
        said, _ = process.communicate(timeout=1500)
        assert process.returncode == 0, said
    return folder / "report.html"


def contrast(browser: Browser) -> float:
    """Of the text on the page, as WCAG 2 defines it."""
    script = """
    const parts = (colour) => colour.match(/[\\d.]+/g).slice(0, 3).map((one) => one / 255);
    const light = (colour) => {
      const [r, g, b] = parts(colour).map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const style = getComputedStyle(document.body);
    const [a, b] = [light(style.color), light(style.backgroundColor)];
    return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    """
    return browser.ask(script)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_report_of_captions_small(
    browser: Browser, report: Path, width: int, mode: str, tmp_path: Path
) -> None:
    """No console error, no request but for the file, no sideways scrolling, no serious barrier."""
    browser.show(report.as_uri(), width, mode)
    browser.picture(tmp_path / f"report-{mode}-{width}.png")
    assert browser.errors() == []
    assert set(browser.requests()) == {report.as_uri()}
    assert browser.ask("return document.documentElement.scrollWidth") <= width
    assert contrast(browser) > 12
    assert browser.ask("return Bokeh.documents.length") == browser.ask(
        "return document.querySelectorAll('.chart').length"
    )
    assert browser.barriers() == []


@pytest.mark.parametrize("width", WIDTHS)
def test_a_keyboard_alone_reaches_everything(browser: Browser, report: Path, width: int) -> None:
    """Tab visits every link, button, box, region and table that can be opened, in order, with a visible focus."""
    browser.show(report.as_uri(), width)
    expected = browser.ask("""
      const can = "a[href], button, input, summary, [tabindex='0']";
      const seen = [...document.querySelectorAll(can)].filter((one) => one.checkVisibility());
      seen.forEach((one, at) => { one.dataset.place = at; });
      return seen.length;
    """)
    assert expected > 60
    visited: list[int] = []
    for _ in range(expected):
        browser.press("Tab")
        place, style, inside = browser.ask("""
          const one = document.activeElement;
          return [one.dataset.place, getComputedStyle(one).outlineStyle, one.shadowRoot !== null];
        """)
        assert style != "none"
        assert not inside
        visited.append(int(place))
    assert visited == list(range(expected))


def test_a_keyboard_alone_works_everything(browser: Browser, report: Path) -> None:
    """Sorting, hiding a run, moving an axis, opening the numbers, skipping to the report."""
    browser.show(report.as_uri())
    browser.press("Tab")
    browser.press("Enter")
    assert browser.ask("return [document.activeElement.id, location.hash]") == ["main", "#main"]
    browser.ask("document.querySelector('#runs th:nth-child(9) button').focus()")
    browser.press("Enter")
    cells = "return [...document.querySelectorAll('#runs tbody td:nth-child(9)')].map((one) => Number(one.textContent))"
    assert browser.ask(cells) == sorted(browser.ask(cells))
    browser.press("Enter")
    assert browser.ask(cells) == sorted(browser.ask(cells), reverse=True)
    assert (
        browser.ask("return document.querySelector('#runs th:nth-child(9)').getAttribute('aria-sort')")
        == "descending"
    )
    browser.ask("document.querySelector('#validation input').focus()")
    browser.press(" ")
    of_run = "filter((one) => one.tags[0] === 'run-0')"
    drawn = f"return Bokeh.documents[0].roots()[0].renderers.{of_run}.map((one) => one.visible)"
    assert browser.ask(drawn) == [False, False]
    ends = "const r = Bokeh.documents[0].roots()[0].x_range; return [r.start, r.end]"
    before = browser.ask(ends)
    browser.ask("document.querySelector('#validation [data-zoom=in]').focus()")
    browser.press("Enter")
    after = browser.ask(ends)
    assert before[0] < after[0] < after[1] < before[1]
    browser.ask("document.querySelector('#validation [data-zoom=reset]').focus()")
    browser.press("Enter")
    assert browser.ask(ends) == before
    browser.ask("document.querySelector('#validation summary').focus()")
    browser.press("Enter")
    assert browser.ask("return document.querySelector('#validation-numbers').checkVisibility()")


def test_any_two_runs_are_put_beside_each_other_and_columns_are_chosen(
    browser: Browser, tmp_path: Path
) -> None:
    """By keyboard alone: what differs changes with the choice, and a column that is not wanted goes."""
    for order, (name, own) in enumerate((("a", {}), ("b", {"depth": "shallow"}), ("<c>", {"query_dim": 8}))):
        write_run(tmp_path / "runs", f"phase/{name}", 1.5 - order / 10, order=order, connector=own)
    file = tmp_path / "report.html"
    file.write_text(page(gather(list_runs(tmp_path / "runs"), two=True)))
    browser.show(file.as_uri(), 390, "dark")
    rows = "[...document.querySelectorAll('#pair .differ tr')]"
    differ = f"return {rows}.map((one) => [...one.cells].map((cell) => cell.textContent))"
    assert browser.ask(differ) == [["model.connector.query_dim", "384", "8"]]
    choose = """
    const [id, value] = arguments;
    const select = document.getElementById(id);
    select.value = value;
    select.dispatchEvent(new Event("change"));
    """
    browser.ask(choose, "pair-other", "1")
    assert browser.ask(differ) == [["model.connector.depth", "deep", "shallow"]]
    browser.ask(choose, "pair-one", "2")
    assert browser.ask(differ) == [
        ["model.connector.depth", "deep", "shallow"],
        ["model.connector.query_dim", "8", "384"],
    ]
    assert browser.ask("return document.querySelector('#pair .a').textContent") == "<c>"
    browser.ask("document.querySelector('.columns summary').focus()")
    browser.press("Enter")
    browser.press("Tab")
    browser.press(" ")
    cells = "return [...document.querySelectorAll('#runs tr > *:nth-child(2)')].map((one) => one.checkVisibility())"
    assert not any(browser.ask(cells))
    browser.press(" ")
    assert all(browser.ask(cells))
    assert browser.errors() == []


LIGHT_BLUE = [0x00, 0x72, 0xB2]
"""The first run's colour on light paper."""

PAINTED = """
const every = (root) =>
  [...root.querySelectorAll("*")].flatMap((one) => [one, ...(one.shadowRoot ? every(one.shadowRoot) : [])]);
const canvas = every(document.querySelector("#validation-plot")).find((one) => one.tagName === "CANVAS");
const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
let count = 0;
for (let at = 0; at < data.length; at += 4) {
  if (data[at + 3] > 250 && arguments[0].every((part, of) => Math.abs(data[at + of] - part) < 4)) count += 1;
}
return count;
"""


def test_dark_and_print_repaint_the_charts(browser: Browser, report: Path) -> None:
    """The axes' letters follow the scheme, and are dark on paper."""
    colour = "return Bokeh.documents[0].roots()[0].below[0].axis_label_text_color"
    browser.show(report.as_uri(), mode="dark")
    assert browser.ask(colour) == "#e7e5df"
    assert browser.ask(PAINTED, LIGHT_BLUE) == 0
    assert (
        browser.ask(f"dispatchEvent(new Event('beforeprint')); {PAINTED}", LIGHT_BLUE) > 100
    )  # not a frame later
    assert browser.ask(colour) == "#1d1d1b"
    browser.ask("dispatchEvent(new Event('afterprint'))")
    assert browser.ask(colour) == "#e7e5df"


POINTED = """
const every = (root) =>
  [...root.querySelectorAll("*")].flatMap((one) => [one, ...(one.shadowRoot ? every(one.shadowRoot) : [])]);
const all = [...document.querySelectorAll(".bk-Tooltip")].flatMap((one) => every(one.shadowRoot ?? one));
const texts = all.filter((one) => !one.shadowRoot && !one.children.length).map((one) => one.textContent);
const markup = all.filter((one) => ["IMG", "SCRIPT"].includes(one.tagName));
return [texts.filter((text) => text.includes("onerror")), markup.length];
"""


def test_what_the_pointer_is_told_is_text(browser: Browser, tmp_path: Path) -> None:
    """The name of a run, in the box beside the pointer."""
    hostile = "<img src=x onerror=alert(1)><script>alert(2)</script>"
    run = write_run(tmp_path, "flat/one", 2.0, curve=[(step, 2.0) for step in range(5, 100, 5)])
    record = json.loads((run / "recipe.json").read_text())
    (run / "recipe.json").write_text(json.dumps({**record, "id": hostile}))
    file = tmp_path / "report.html"
    file.write_text(page(gather(list_runs(tmp_path))))
    browser.forget()
    browser.show(file.as_uri())
    x, y, wide = browser.ask("""
      const plot = document.querySelector("#validation-plot");
      plot.scrollIntoView({ block: "center", behavior: "instant" });
      const box = plot.getBoundingClientRect();
      return [box.x, box.y, box.width];
    """)
    texts: list[str] = []
    for down in range(100, 220, 2):
        where = {"x": x + wide / 2, "y": y + down}
        browser.driver.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **where})
        time.sleep(0.1)
        texts, markup = browser.ask(POINTED)
        assert markup == 0
        if texts:
            break
    assert {text.strip() for text in texts} == {hostile}
    assert browser.errors() == []


def test_watching_follows_runs_without_loading_again(browser: Browser, tmp_path: Path) -> None:
    """A chart gets new points and keeps its zoom; another run joins; the end is said; then the server goes away."""
    root = tmp_path / "runs"
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>"
    one = write_run(root, "live/one", 2.5, curve=[(10, 3.5), (20, 3.0)], steps=40, planned=100)
    server = Server(
        "127.0.0.1",
        0,
        Board(
            lambda: gather(list_runs(root), draw_fits=False),
            lambda: stamp_of([run.folder for run in list_runs(root)]),
        ),
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        browser.forget()
        browser.show(server.url)
        browser.ask("window.mark = 'the same document'")
        told = "return document.getElementById('state').textContent"
        assert browser.ask(told) == "stopped"
        points = "return Bokeh.documents.at(0).get_model_by_name('validation-0-source').data.x.length"
        assert browser.ask(points) == 3
        with writing(one):
            browser.until(f"{told} === 'running'")
            browser.ask("document.querySelector('#validation [data-zoom=in]').click()")
            zoomed = browser.ask("return Bokeh.documents[0].roots()[0].x_range.start")
            with MetricsWriter(one / "metrics.jsonl", "one", 40) as metrics:
                metrics.write("eval", step=60, samples_seen=1920, val_loss=2.0)
            browser.until(f"{points} === 4")
            assert browser.ask("return Bokeh.documents[0].roots()[0].x_range.start") == zoomed
            browser.until("return document.querySelector('#validation .end').textContent.includes('2.0000')")
            two = write_run(root, "live/two", 2.2, order=1)
            record = json.loads((two / "recipe.json").read_text())
            (two / "recipe.json").write_text(json.dumps({**record, "id": hostile}))
            browser.until("return document.querySelectorAll('#validation .keys label').length === 2")
            browser.until("return document.querySelectorAll('#runs tbody tr').length === 2")
            assert hostile in browser.ask("return document.querySelector('#runs').textContent")
        summary = json.loads((one / "summary.json").read_text())
        (one / "summary.json").write_text(json.dumps({**summary, "complete": True}))
        browser.until(f"{told} === 'complete'")
        assert browser.ask("return window.mark") == "the same document"
        assert browser.errors() == []
        assert {url.split("?")[0] for url in browser.requests()} <= {server.url, f"{server.url}state.json"}
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    browser.until("return document.getElementById('contact').textContent.includes('does not answer')")
    assert browser.ask("return document.querySelectorAll('#runs tbody tr').length") == 2
