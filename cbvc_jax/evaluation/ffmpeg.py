"""The ffmpeg of the package imageio-ffmpeg: one build with x264, x265, SVT-AV1, VVenC and libvmaf for everybody."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from cbvc_jax.errors import UsageError, VideoError

INSTALL = "pip install 'cbvc-jax[anchors]'"
LAST_LINES = 5


def find_ffmpeg() -> str:
    """Path of the program; raises UsageError where the package is not installed."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError) as error:
        raise UsageError(f"conventional codecs and VMAF need an ffmpeg that has them: {INSTALL}") from error


@cache
def ffmpeg_version() -> str:
    """The version as the program names itself; its build fixes the versions of its encoders, too."""
    done = subprocess.run([find_ffmpeg(), "-version"], capture_output=True, text=True, check=True)
    return done.stdout.split(" Copyright")[0]


@cache
def has_encoder(library: str) -> bool:
    """Whether the program at hand has an encoder, such as "libvvenc"."""
    command = [find_ffmpeg(), "-hide_banner", "-encoders"]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return library in listing.split()


def run_ffmpeg(arguments: Sequence[str], failure: str, output: Path | None = None, data: Iterable[bytes] = ()) -> None:
    """Runs ffmpeg; returns nothing.

    Args:
      arguments: what follows `ffmpeg` on its command line.
      failure: how the message of an error begins.
      output: file that takes its standard output.
      data: what is piped into its standard input, piece by piece.

    Raises:
      VideoError: it failed; the message ends in its own last words.
    """
    target = output or Path("/dev/null")
    with target.open("wb") as stdout, tempfile.TemporaryFile() as log:
        with subprocess.Popen([find_ffmpeg(), *arguments], stdin=subprocess.PIPE, stdout=stdout, stderr=log) as process:
            assert process.stdin is not None
            # A program that has given up closes the pipe; its own message, in the log, tells why.
            with suppress(BrokenPipeError), process.stdin as pipe:
                for piece in data:
                    pipe.write(piece)
        log.seek(0)
        text = log.read().decode(errors="replace").strip()
    if process.returncode != 0:
        raise VideoError(f"{failure}:\n" + "\n".join(text.splitlines()[-LAST_LINES:]))
