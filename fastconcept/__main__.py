"""The ``fastconcept`` command, and ``python -m fastconcept``: Ctrl-C costs one line even while it is being imported."""

from __future__ import annotations

import sys


def main() -> None:
    """Import the command line and run it."""
    try:
        from .cli import main as run

        run()
    except KeyboardInterrupt:
        print("fastconcept: interrupted", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
