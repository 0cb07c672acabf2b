"""The command line: `minivae COMMAND …`."""

import contextlib
import importlib
import io
import os
import sys

from ..errors import ConfigError, MinivaeError
from .options import parser

__all__ = ["main", "parser"]


def main(argv=None):
    """Run a command. Exit status 2 for wrong usage, 1 for any other error, 128 + n for signal n."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # print ? if the terminal has no σ
    options = parser().parse_args(argv)
    try:
        # Imported here, and not above: --help does not need matplotlib.
        module = importlib.import_module(f".{options.module}", __package__)
        getattr(module, f"{options.command}_command")(options)
        print(end="", flush=True)
    except KeyboardInterrupt:
        sys.exit(130)
    except (MinivaeError, OSError, MemoryError) as error:
        if isinstance(error, OSError) and not isinstance(error, MinivaeError) and sys.stdout:
            # Standard output may be full, or its reader gone. Python, which flushes it at the end,
            # would report the error again.
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            sys.exit(1)
        if options.debug:
            raise
        what = "out of memory: " if isinstance(error, MemoryError) else ""
        said = f"minivae: {what}{error}".replace("\n", " ")
        if isinstance(error, ConfigError):
            print(said, file=sys.stderr)
            sys.exit(2)
        sys.exit(said)
