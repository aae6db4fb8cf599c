"""Metrics of answers: exact match, token F1, multiple choice, and n-gram scores of captions."""
