"""WebVid-10M: metadata and videos that are already on this machine."""
