"""Comparing runs: differences to a baseline with intervals, and what can be said of them."""

from fvlm_core.comparison.compare import Comparison, Judged, VariantRow, compare
from fvlm_core.comparison.table import ComparisonTable, table

__all__ = ["Comparison", "ComparisonTable", "Judged", "VariantRow", "compare", "table"]
