"""The documentation's own machinery, from docs/_ext, for tests."""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "docs" / "_ext"))

import blocks  # noqa: E402
import execute  # noqa: E402
import rehearse  # noqa: E402

PAGES = blocks.pages(ROOT)
TUTORIAL = ROOT / "docs" / "tutorial.md"

__all__ = ["PAGES", "ROOT", "TUTORIAL", "blocks", "execute", "rehearse"]
