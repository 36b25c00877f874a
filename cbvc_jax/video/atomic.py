"""Outputs that appear whole or not at all: written under a temporary name beside the target, then renamed."""

from __future__ import annotations

import errno
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from cbvc_jax.errors import VideoError
from cbvc_jax.video.frames import PipeClosedError


@contextmanager
def writing(target: str) -> Iterator[None]:
    """Turns the operating system's errors inside it into VideoError (PipeClosedError for a closed pipe)."""
    try:
        yield
    except OSError as error:
        explain(error, target)


def explain(error: OSError, target: str) -> NoReturn:
    """Raises the VideoError that says in words what kept `target` from being written."""
    if isinstance(error, BrokenPipeError) or error.errno == errno.EPIPE:
        raise PipeClosedError(f"the program that read {target} has closed the pipe") from error
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        raise VideoError(f"{target} cannot be written: the disk is full") from error
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        raise VideoError(f"{target} cannot be written: no permission") from error
    raise VideoError(f"{target} cannot be written: {error.strerror or error}") from error


class Staging:
    """A place to write in until `commit` puts it where `target` is. `path` is that place, a file name or a folder.

    A target that exists but is no regular file (a named pipe, a device) is written directly.
    """

    def __init__(self, target: Path, overwrite: bool, folder: bool = False):
        """Raises VideoError if the folder of `target` is missing, or `target` exists and may not be replaced."""
        # A link keeps pointing where it does; the file behind it is replaced.
        self.target = target.resolve()
        self.direct = self.target.exists() and not self.target.is_file() and not folder
        if self.direct and self.target.is_dir():
            raise VideoError(f"{target} is a folder, not a file that can be written")
        if not self.target.parent.is_dir():
            raise VideoError(f"the folder {self.target.parent} does not exist; make it first")
        if self.target.is_file() and not overwrite:
            raise VideoError(f"{target} exists already; remove it or allow it to be overwritten")
        temporary = self.target.with_name(f".{self.target.name}.{os.getpid()}.part")
        self.path = self.target if self.direct else temporary
        if folder:
            with writing(str(target)):
                self.path.mkdir()

    def commit(self) -> None:
        """Puts the written file in place of the target; returns nothing."""
        if not self.direct:
            with writing(str(self.target)):
                self.path.replace(self.target)

    def discard(self) -> None:
        """Removes what was written; returns nothing. What was at the target before stays."""
        if self.direct:
            return
        if self.path.is_dir():
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            self.path.unlink(missing_ok=True)


def write_whole(file: Path, data: str | bytes) -> None:
    """Writes a file, text in UTF-8, that appears whole, in a folder that is made at need; returns nothing.

    Raises:
      VideoError: it cannot be written. What was there stays.
    """
    with writing(str(file)):
        file.parent.mkdir(parents=True, exist_ok=True)
    staging = Staging(file, overwrite=True)
    try:
        with writing(str(file)):
            staging.path.write_bytes(data.encode() if isinstance(data, str) else data)
        staging.commit()
    except BaseException:
        staging.discard()
        raise


def stdout_writer() -> tuple[Callable[[bytes], None], Callable[[], None]]:
    """(write, close) for the bytes of standard output.

    The descriptor is used beside `sys.stdout`, so that nothing is left in a buffer that Python would try to flush at
    exit into a pipe that has been closed. Raises VideoError where there is no standard output.
    """
    if sys.stdout is None:
        raise VideoError("- writes to standard output, but that is closed")
    sys.stdout.flush()
    descriptor = os.dup(sys.stdout.fileno())

    def write(data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]

    return write, lambda: os.close(descriptor)
