"""Settings of the documentation; `make docs` builds it, a warning is an error."""

from __future__ import annotations

import sys
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from sphinx.util import inspect

sys.path.insert(0, str(Path(__file__).parent))

import generated

project = "sprintcache"
author = "the sprintcache developers"
copyright = "the sprintcache developers"
version = release = installed("sprintcache")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
html_theme = "furo"
html_title = f"sprintcache {release}"
exclude_patterns = ["_build"]
default_role = "any"
nitpicky = False
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
# single backquotes in docstrings also name parameters; some classes have the name of others
suppress_warnings = ["ref.any", "ref.python"]
autoclass_content = "both"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_mock_imports = [
    "torch",
    "ray",
    "pyarrow",
    "h5py",
    "kaldi_native_io",
    "matplotlib",
    "returnn",
]
autodoc_default_options = {
    "members": True,
    "special-members": "__len__, __iter__, __getitem__, __contains__",
}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False  # what stands before a colon in "Returns" need not be a type

PAGES = {
    "reference/api/sprint": generated.stand_in,
    "reference/commands": generated.commands,
    "reference/performance": generated.benchmarks,
}


def fill(app: Any, name: str, source: list[str]) -> None:
    """Puts what is generated in the place of its marker."""
    if name in PAGES:
        source[0] = source[0].replace(generated.MARKER, PAGES[name]())


def skip(app: Any, what: str, name: str, member: Any, is_skipped: bool, options: Any) -> bool:
    """Fields of a NamedTuple: their class says what they are."""
    return is_skipped or (member.__doc__ or "").startswith("Alias for field number")


def signature(
    app: Any, what: str, name: str, member: Any, options: Any, found: str, returns: str
) -> tuple[str, str] | None:
    """Of a class whose base is not installed: that of its constructor."""
    if what != "class" or found != "(*args: Any, **kwargs: Any)":
        return None
    whole = inspect.signature(member.__init__)
    rest = list(whole.parameters.values())[1:]
    return inspect.stringify_signature(
        whole.replace(parameters=rest), show_return_annotation=False
    ), returns


def setup(app: Any) -> None:
    app.connect("source-read", fill)
    app.connect("autodoc-skip-member", skip)
    app.connect("autodoc-process-signature", signature)
    app.connect("env-get-outdated", lambda *_: list(PAGES))
