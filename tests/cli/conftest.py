"""What the tests of the command line need: a clip, its stream, and `cbvc` in this process or in one of its own."""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import pytest

from cbvc_jax.cli.main import main
from cbvc_jax.video import VideoInfo, create_video

HEIGHT, WIDTH, FRAMES, GOP = 48, 64, 7, 3


@dataclass(frozen=True)
class Outcome:
    """How a command ended: exit status, standard output, standard error."""

    status: int
    out: str
    err: str


@pytest.fixture(autouse=True)
def _surroundings(model_folder, monkeypatch):
    """The random model is installed as `random`; the handler that `main` sets does not outlive a test."""
    monkeypatch.setenv("CBVC_MODELS", str(model_folder.parent))
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def cbvc(capsys):
    """cbvc(*arguments): runs the command in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = main([str(a) for a in arguments])
        return Outcome(status, *capsys.readouterr())

    return run


@pytest.fixture
def refused(cbvc):
    """refused(words, *arguments): the command fails with status 1 and one line on standard error that has the words."""

    def run(words: str, *arguments: object) -> None:
        outcome = cbvc(*arguments)
        assert outcome.status == 1
        assert outcome.err.startswith("cbvc: ")
        assert outcome.err.count("\n") == 1, outcome.err
        assert words in outcome.err

    return run


@pytest.fixture(scope="session")
def clip(tmp_path_factory, moving) -> Path:
    """Seven moving frames of 64x48 pixels at 25 a second."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    info = VideoInfo(WIDTH, HEIGHT, Fraction(1, 25), Fraction(25))
    with create_video(path, info) as video:
        for number, rgb in enumerate(moving(FRAMES, HEIGHT, WIDTH)):
            video.write(rgb, number)
    return path


@pytest.fixture(scope="session")
def stream(tmp_path_factory, clip, model_folder) -> Path:
    """The clip as a stream in GOPs of three frames."""
    path = tmp_path_factory.mktemp("stream") / "clip.cbv"
    before = signal.getsignal(signal.SIGTERM)
    assert main(["encode", str(clip), str(path), "--model", str(model_folder), "--rate", "low", "--gop", str(GOP)]) == 0
    signal.signal(signal.SIGTERM, before)
    return path


@pytest.fixture
def command() -> list[str]:
    """`cbvc` as a process of its own, to be followed by its arguments."""
    return [sys.executable, "-m", "cbvc_jax.cli.main"]


def names(folder: Path) -> list[str]:
    """Everything in a folder, hidden files too."""
    return sorted(path.name for path in folder.iterdir())
