"""Where a `.cbv` stream comes from: a file, or standard input."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from cbvc_jax.errors import UsageError, VideoError

STDIN = "-"


@contextlib.contextmanager
def open_input(source: str) -> Iterator[IO[bytes]]:
    """The bytes of `source`, a file name or "-"; a VideoError says why a file cannot be opened."""
    check_stdin(source)
    if source == STDIN:
        yield sys.stdin.buffer
        return
    try:
        file = Path(source).open("rb")  # noqa: SIM115
    except OSError as error:
        raise VideoError(f"{source} cannot be opened: {error.strerror or error}") from None
    with file:
        yield file


def check_stdin(source: str) -> None:
    """Returns nothing; raises UsageError if `source` is "-" and nothing is piped in, which would wait for keys."""
    if source == STDIN and (sys.stdin is None or sys.stdin.closed or sys.stdin.isatty()):
        raise UsageError("- reads from standard input, but nothing is piped into it")
