"""Settings of the documentation; `make docs` builds it, a warning is an error."""

from importlib.metadata import version as installed

project = "sprintcache"
author = "the sprintcache developers"
copyright = "the sprintcache developers"
version = release = installed("sprintcache")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.intersphinx",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
html_theme = "furo"
html_title = f"sprintcache {release}"
exclude_patterns = ["_build"]
default_role = "any"
nitpicky = False
myst_heading_anchors = 3
suppress_warnings = ["ref.any"]  # single backquotes in docstrings also name parameters
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_mock_imports = ["torch", "ray", "pyarrow", "h5py", "kaldi_native_io", "matplotlib", "returnn"]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
