"""fvlm: the laboratory for small vision-language models. The core knows every interface and no plugin."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("fvlm")
except PackageNotFoundError:  # a source tree on PYTHONPATH, never installed
    __version__ = "0+unknown"
