"""Where a `.cbv` stream goes: a file that appears when it is whole, or standard output as it is made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from cbvc_jax.errors import UsageError
from cbvc_jax.video.atomic import Staging, stdout_writer, writing

STDOUT = "-"


class OutputStream:
    """A binary sink whose failures are VideoErrors in words."""

    def __init__(self, target: str, write: Callable[[bytes], object]):
        self._target, self._write = target, write

    def write(self, data: bytes) -> int:
        """Number of bytes written: all of them."""
        with writing(self._target):
            self._write(data)
        return len(data)

    def flush(self) -> None:
        """Nothing to do: every write goes through."""


@contextlib.contextmanager
def open_output(target: str) -> Iterator[OutputStream]:
    """The sink of `target`, a file name or "-". A file is renamed into place on success, and removed after an error."""
    if target == STDOUT:
        write, close = stdout_writer()
        try:
            yield OutputStream("standard output", write)
        finally:
            close()
        return
    staging = Staging(Path(target), overwrite=True)
    try:
        with writing(target):
            file = staging.path.open("wb", buffering=0)
        with file:
            yield OutputStream(target, lambda data: _write_all(file.fileno(), data))
            if not staging.direct:
                with writing(target):
                    os.fsync(file.fileno())
        staging.commit()
    except BaseException:
        staging.discard()
        raise


def check_distinct(source: str, target: str) -> None:
    """Returns nothing; raises UsageError if the output would replace the very file that is read."""
    if target != STDOUT and Path(source).is_file() and Path(target).is_file() and Path(source).samefile(target):
        raise UsageError(f"{target} is the input itself; give another name for the output")


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
