"""Links out of docs/, to the source: a file becomes a download (MyST does that), a folder its page or plain words."""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx

PAGES = {"fvlm_core/interfaces": "/reference/interfaces"}


def _resolve(app: Sphinx, doctree: nodes.document) -> None:
    root = Path(app.srcdir).parent
    here = Path(app.env.doc2path(app.env.docname)).parent
    for link in list(doctree.findall(pending_xref)):
        folder = (here / str(link.get("reftarget"))).resolve()
        if link.get("reftype") != "myst" or not folder.is_dir() or not folder.is_relative_to(root):
            continue
        page = PAGES.get(folder.relative_to(root).as_posix())
        if page is None:
            link.replace_self(link.children)
        else:
            link.attributes |= {"refdomain": "std", "reftype": "doc", "reftarget": page, "refexplicit": True}


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-read", _resolve)
    return {"parallel_read_safe": True}
