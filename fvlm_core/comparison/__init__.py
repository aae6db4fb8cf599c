"""Comparing runs: differences to a baseline with intervals, and what can be said of them."""

from fvlm_core.comparison.compare import Comparison, Judged, Row, compare
from fvlm_core.comparison.table import Table, table

__all__ = ["Comparison", "Judged", "Row", "Table", "compare", "table"]
