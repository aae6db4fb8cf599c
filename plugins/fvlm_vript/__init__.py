"""Vript: dense captions of scenes, from its published JSONL and zips of clips."""
