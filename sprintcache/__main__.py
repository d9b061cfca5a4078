"""``python -m sprintcache``: the same as the command ``sprintcache``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
