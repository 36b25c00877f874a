"""`cbvc`: one command, a file for each subcommand. Errors are one line on standard error and exit status 1."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence

import cbvc_jax
from cbvc_jax.cli import crosscheck, decode, encode, export, info, metrics, models, rd
from cbvc_jax.errors import CbvcError

INTERRUPTED = 130


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="cbvc", description="A neural video codec whose bitstream is codebook indices."
    )
    parser.add_argument("--version", action="version", version=f"cbvc {cbvc_jax.__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)
    for command in (encode, decode, info, metrics, rd, models, export, crosscheck):
        command.add_parser(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns the exit status: 0, 1 after an error that was told, 130 after Ctrl-C."""
    args = build_parser().parse_args(argv)
    # A terminated process takes the same way out as an interrupted one: temporary outputs are removed.
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        status = args.run(args)
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was left half-written", INTERRUPTED)
    except CbvcError as error:
        return 0 if type(error).__name__ == "PipeClosedError" else _fail(str(error))
    except OSError as error:
        _drop_output()
        # Where the reader of our output has gone, nothing is left to be told.
        quiet = isinstance(error, BrokenPipeError)
        return 0 if quiet else _fail(f"{error.filename or 'output'}: {error.strerror or error}")
    except (MemoryError, RuntimeError) as error:
        # JAX reports a lack of memory as a RuntimeError of its own.
        if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            return _fail("there is not enough memory for frames of this size")
        raise


def _fail(message: str, status: int = 1) -> int:
    print(f"cbvc: {message}", file=sys.stderr)
    return status


def _drop_output() -> None:
    """Points standard output at nothing: what Python still holds for it would fail, and be told, once more at exit."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
