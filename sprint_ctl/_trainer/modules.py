"""The folder that is handed to Sprint as ``pymod-path``.

Sprint puts it first on ``sys.path``, so it holds links to our two packages and nothing else: no
other package of the trainer's environment can take the place of one of Sprint's own.

The folder goes with the process it was made for. When the trainer is killed, Sprint removes it
(`sprint_ctl._sprint.orphan`); only if both are killed, it stays.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile

from sprint_ctl.config import MODULE_FOLDER

__all__ = ["make_module_folder", "remove_module_folder"]

_PACKAGES = ("sprint_ctl", "sprintcache")


def make_module_folder() -> str:
    """A new temporary folder with links to the packages; the caller removes it."""
    folder = tempfile.mkdtemp(prefix=MODULE_FOLDER)
    for name in _PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:
            os.symlink(os.path.abspath(spec.submodule_search_locations[0]), f"{folder}/{name}")
    return folder


def remove_module_folder(folder: str) -> None:
    """Removes it, never what its links lead to; again does nothing."""
    shutil.rmtree(folder, ignore_errors=True)
