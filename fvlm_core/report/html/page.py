"""The page as one text: the content in its templates, with styles, scripts and BokehJS inside."""

from __future__ import annotations

import base64
import json
import re
from functools import cache
from hashlib import sha256
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import fvlm_core
from fvlm_core.report.html.content import Content
from fvlm_core.report.html.parts import Chart, Section


def page(content: Content, live: bool = False) -> str:
    """The whole page. It loads nothing: its policy forbids all requests, but those of a live page to its own server.

    Every text is escaped by the templates; scripts run only by their hash.
    """
    scripts = [_bokeh(), _file("page.js")]
    policy = "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(_hash(script) for script in scripts)}",
            "style-src 'unsafe-inline'",  # BokehJS writes its own into shadow roots
            "img-src data:",
            f"connect-src {chr(39)}{'self' if live else 'none'}{chr(39)}",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )
    template = _templates().get_template("page.html.j2")
    return template.render(
        content=content,
        live=live,
        policy=policy,
        style=Markup(_file("page.css")),
        scripts=[Markup(script) for script in scripts],
        version=fvlm_core.__version__,
    )


def fragments(content: Content) -> dict[str, Any]:
    """What a live page is told: the HTML of every section without its charts, and the charts' numbers."""
    parts = _templates().get_template("section.html.j2")
    return {
        "title": content.title,
        "state": content.state,
        "lede": content.lede,
        "sections": {section.id: parts.render(section=section) for section in content.sections},
        "charts": {
            chart.id: {"structure": chart.structure, "series": chart.series, "ranges": chart.ranges}
            for section in content.sections
            for chart in charts(section)
        },
    }


def charts(section: Section) -> list[Chart]:
    """All charts of a section."""
    return [chart for block in section.blocks for chart in block.charts]


@cache
def _templates() -> Environment:
    made = Environment(
        loader=PackageLoader("fvlm_core.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["data"] = data
    made.filters["prose"] = prose
    return made


def data(value: object) -> Markup:
    """JSON for a script element of data: no `<` in it can end the element or begin a comment."""
    text = json.dumps(value, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def prose(text: str) -> Markup:
    """Escaped text, what is between backticks as code."""
    parts = re.split(r"`([^`]*)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if at % 2 else part for at, part in enumerate(parts)
    )


def _file(name: str) -> str:
    environment = _templates()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


@cache
def _bokeh() -> str:
    """BokehJS, of the core component alone, without the reference to its source map."""
    from bokeh.resources import Resources

    found = Resources(mode="inline", components=["bokeh"], minified=True).js_raw
    text = "\n".join(found).replace("\r", "")
    text = re.sub(r"^//# sourceMappingURL=.*$", "", text, flags=re.MULTILINE)
    return re.sub(r"</(script)", r"<\\/\1", text, flags=re.IGNORECASE)


def _hash(script: str) -> str:
    return f"'sha256-{base64.b64encode(sha256(script.encode()).digest()).decode()}'"
