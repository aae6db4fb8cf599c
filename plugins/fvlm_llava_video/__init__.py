"""LLaVA-Video-178K: captions and questions on videos, from its published JSON and tar.gz files."""
