"""`cbvc`: one command, a file for each subcommand. Errors are one line on standard error and exit status 1."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence

import cbvc_jax
from cbvc_jax.cli import decode, encode, info, metrics, models
from cbvc_jax.errors import CbvcError

INTERRUPTED = 130


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="cbvc", description="A neural video codec whose bitstream is codebook indices: encode here, decode anywhere."
    )
    parser.add_argument("--version", action="version", version=f"cbvc {cbvc_jax.__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (encode, decode, info, metrics, models):
        command.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns the exit status: 0, 1 after an error that was told, 130 after Ctrl-C."""
    # A terminated process takes the same way out as an interrupted one: temporary outputs are removed.
    signal.signal(signal.SIGTERM, _interrupt)
    args = build_parser().parse_args(argv)
    try:
        return args.run(args)
    except BrokenPipeError:
        # The reader of our output has gone: nothing is left to be told, nor flushed when Python ends.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except CbvcError as error:
        if type(error).__name__ == "PipeClosedError":
            return 0
        print(f"cbvc: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"cbvc: {error.filename or 'file'}: {error.strerror or error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cbvc: interrupted; nothing was left half-written", file=sys.stderr)
        return INTERRUPTED


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
