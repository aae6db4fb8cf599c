"""OpenVid-1M: clips with captions, from its published CSV and zips."""
