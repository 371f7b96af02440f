"""Where the `carsdepo` script begins: it is ready for Ctrl-C before it imports the commands, which takes a second."""

from __future__ import annotations

import os
import sys

from carsdepo_assets.commands.interruption import EXIT_CODE, interruptible


def main() -> None:
    """The entry point of the `carsdepo` script."""
    try:
        with interruptible():
            from carsdepo_assets.cli import main as run

            run()
    except SystemExit as ended:
        if ended.code != EXIT_CODE:
            raise
        # Threads that wait for a service would hold the interpreter's own way out; blocks have been left by now.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_CODE)
