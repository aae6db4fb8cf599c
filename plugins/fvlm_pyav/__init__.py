"""The core's own decoder, by name."""
