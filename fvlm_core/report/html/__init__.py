"""The report of runs: one HTML page that needs no other file and no network."""

from fvlm_core.report.html.content import Content, gather
from fvlm_core.report.html.offered import failures
from fvlm_core.report.html.page import fragments, page

__all__ = ["Content", "failures", "fragments", "gather", "page"]
