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
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_design",
]
html_theme = "furo"
html_title = f"sprintcache {release}"
exclude_patterns = ["_build"]
default_role = "any"
nitpicky = False
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
# single backquotes in docstrings also name parameters; some classes have the name of others
suppress_warnings = ["ref.any", "ref.python"]
autoclass_content = "both"
autodoc_typehints = "signature"
autosummary_generate = False
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
autodoc_default_options = {"members": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False  # text before a colon in "Returns" need not be a type

# classes whose objects come from a function or a method
MADE_BY_CALLS = {
    "sprintcache.Archive",
    "sprintcache.CombineReport",
    "sprintcache.EntryInfo",
    "sprintcache.Problem",
    "sprintcache.RecoveryReport",
    "sprintcache.ScanReport",
    "sprintcache.SkippedRange",
    "sprintcache.VerifyReport",
    "sprintcache.dataset.DatasetReport",
    "sprintcache.dataset_base.DatasetSeq",
}

PAGES = {
    "reference/api/sprint": generated.stand_in,
    "reference/architecture": generated.architecture,
    "reference/commands": generated.commands,
    "reference/performance": generated.benchmarks,
}


def fill(app: Any, name: str, source: list[str]) -> None:
    """Replaces the markers of a page by its generated parts."""
    if name in PAGES:
        source[0] = source[0].replace(generated.MARKER, PAGES[name]())
    if generated.SIZES_MARKER in source[0]:
        source[0] = source[0].replace(generated.SIZES_MARKER, generated.sizes())


def skip(app: Any, what: str, name: str, member: Any, is_skipped: bool, options: Any) -> bool:
    """Skips the fields of a NamedTuple, which the docstring of the class describes."""
    return is_skipped or (member.__doc__ or "").startswith("Alias for field number")


def signature(
    app: Any, what: str, name: str, member: Any, options: Any, found: str, returns: str
) -> tuple[str, str] | None:
    """Hides constructors that users do not call; takes `__init__` where a base is mocked."""
    if name in MADE_BY_CALLS:
        return "", ""
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
