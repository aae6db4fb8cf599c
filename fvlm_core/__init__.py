"""fvlm: the laboratory for small vision-language models. The core knows every interface and no plugin."""

from __future__ import annotations


def __getattr__(name: str) -> str:
    # `__version__` is looked up on first use: importlib.metadata takes as long to import as click does
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("fvlm")
    except PackageNotFoundError:  # a source tree on PYTHONPATH, never installed
        return "0+unknown"
