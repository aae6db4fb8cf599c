"""fvlm: the laboratory for small vision-language models. The core knows every interface and no plugin."""

from __future__ import annotations

# Here, and read by the build: to look it up in the installed metadata takes as long as to start the command line.
__version__ = "0.1.0"
