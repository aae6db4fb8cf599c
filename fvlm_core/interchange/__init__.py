"""Measurements made elsewhere, read strictly and kept as runs."""
