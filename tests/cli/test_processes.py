"""`cbvc` as processes: pipes, Ctrl-C, readers that go away, full disks."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cbvc_jax.cli.main import main
from cbvc_jax.video import create_video, open_video

from .conftest import FRAMES, HEIGHT, WIDTH, names

LIMIT_S = 300
RANDOM = ("--model", "random")
INTERRUPTIBLE = """
import signal, sys
from cbvc_jax.cli.main import main
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(main())
"""
"""The command, interruptible even where the tests run in the background of a shell, which has SIGINT ignored."""


def test_y4m_in_y4m_out_through_pipes(command, tmp_path, clip):
    """What comes out of the pipes is what files give."""
    source = tmp_path / "in.y4m"
    with open_video(clip) as video, create_video(source, video.info) as copy:
        for frame in video:
            copy.write(frame.rgb, frame.timestamp)
    options = [*RANDOM, "--rate", "low", "--gop", "3"]
    with source.open("rb") as file:
        encode = subprocess.Popen([*command, "encode", "-", "-", *options], stdin=file, stdout=subprocess.PIPE)
    decode = subprocess.run(
        [*command, "decode", "-", "-"], stdin=encode.stdout, capture_output=True, timeout=LIMIT_S, check=False
    )
    assert encode.wait(LIMIT_S) == 0
    assert (decode.returncode, decode.stderr) == (0, b"")
    # Processes, too: this one may compile otherwise, and round otherwise.
    for files in (["encode", str(source), str(tmp_path / "file.cbv"), *options], ["decode", "file.cbv", "file.y4m"]):
        subprocess.run([*command, *files], check=True, timeout=LIMIT_S, cwd=tmp_path)
    assert decode.stdout == (tmp_path / "file.y4m").read_bytes()
    assert decode.stdout.count(b"FRAME\n") == FRAMES


def test_an_interrupted_encoder_leaves_nothing(tmp_path):
    encode = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "encode", "-", str(tmp_path / "out.cbv"), *RANDOM, "--rate", "low"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert encode.stdin is not None
    encode.stdin.write(b"YUV4MPEG2 W%d H%d F25:1 C420\n" % (WIDTH, HEIGHT))
    encode.stdin.write((b"FRAME\n" + bytes(WIDTH * HEIGHT * 3 // 2)) * 40)
    encode.stdin.flush()
    end = time.monotonic() + LIMIT_S
    while not any(path.stat().st_size > 200 for path in tmp_path.iterdir()):
        assert time.monotonic() < end
        assert encode.poll() is None
        time.sleep(0.02)
    encode.send_signal(signal.SIGINT)
    _, err = encode.communicate(timeout=LIMIT_S)
    assert encode.returncode == 130
    assert err.startswith(b"cbvc: interrupted")
    assert err.count(b"\n") == 1
    assert names(tmp_path) == []


def test_termination_takes_the_same_way_out(stream):
    assert main(["info", str(stream)]) == 0
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(1)


def test_a_reader_that_goes_away_ends_the_decoder_quietly(command, stream):
    decode = subprocess.Popen([*command, "decode", str(stream), "-"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert decode.stdout is not None
    decode.stdout.close()
    assert decode.stderr is not None
    assert decode.stderr.read() == b""
    assert decode.wait(LIMIT_S) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_behind_standard_output_is_told_once(command, stream):
    with Path("/dev/full").open("wb") as full:
        info = subprocess.run([*command, "info", str(stream)], stdout=full, stderr=subprocess.PIPE, check=False)
    assert info.returncode == 1
    assert info.stderr == b"cbvc: output: No space left on device\n"


def test_nothing_piped_in_is_said_at_once(command):
    info = subprocess.run(
        f"{subprocess.list2cmdline([*command, 'info', '-'])} <&-", shell=True, capture_output=True, check=False
    )
    assert info.returncode == 1
    assert info.stderr == b"cbvc: - reads from standard input, but nothing is piped into it\n"
