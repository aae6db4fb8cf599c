"""Rendered clips with captions: a video task that fits on any machine, as ordinary H.264 files."""
