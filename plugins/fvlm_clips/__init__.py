"""Video files with captions: a folder, or a manifest in JSONL or CSV."""
