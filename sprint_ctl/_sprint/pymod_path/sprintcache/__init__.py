"""As the package ``sprint_ctl`` in this folder."""

import importlib.util
import os
import sys

_root = os.path.abspath(os.path.join(os.path.dirname(__file__), *[os.pardir] * 4))
_package = os.path.join(_root, __name__)
_spec = importlib.util.spec_from_file_location(
    __name__, os.path.join(_package, "__init__.py"), submodule_search_locations=[_package]
)
if _spec is None or _spec.loader is None:
    raise ImportError(f"no package {__name__} in {_root}")
sys.modules[__name__] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules[__name__])
