"""ShareGPT4Video: detailed descriptions of 40,000 videos, from its published JSONL and zips."""
