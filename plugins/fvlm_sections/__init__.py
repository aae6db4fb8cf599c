"""Sections of the report: how steadily runs trained."""
