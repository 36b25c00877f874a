"""What cannot be done is refused in one line on standard error, with status 1, and leaves no file behind."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest

from cbvc_jax.cli.main import main
from cbvc_jax.weights import save_model

from .conftest import names

RANDOM = ("--model", "random")


@pytest.mark.parametrize(
    ("content", "words"), [(None, "does not exist"), (b"", "is empty"), (b"not a video\n" * 30, "cannot be read")]
)
def test_bad_input_of_encode(refused, tmp_path, content, words):
    if content is not None:
        (tmp_path / "in.mp4").write_bytes(content)
    before = names(tmp_path)
    refused(words, "encode", tmp_path / "in.mp4", tmp_path / "out.cbv", *RANDOM)
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be opened"), (b"", "byte 0"), (b"not a stream\n" * 30, "byte 0")]
)
@pytest.mark.parametrize("command", ["decode", "info"])
def test_bad_input_of_decode_and_info(refused, tmp_path, content, words, command):
    if content is not None:
        (tmp_path / "in.cbv").write_bytes(content)
    before = names(tmp_path)
    refused(words, command, tmp_path / "in.cbv", *([tmp_path / "out.mp4"] if command == "decode" else []))
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--frames 0", ("--frames", "0")),
        ("--frames -3", ("--frames", "-3")),
        ("WxH", ("--size", "64")),
        ("WxH", ("--size", "64x-48")),
        ("0x48", ("--size", "0x48")),
        ("99999x48", ("--size", "99999x48")),
        ("GOP of 0", ("--gop", "0")),
        ("frame rate of 0", ("--frame-rate", "0")),
        ("0 to 100", ("--quality", "101")),
        ("0 to 100", ("--quality", "nan")),
        ("above zero", ("--target-bpp", "0")),
        ("above zero", ("--bitrate", "0")),
        ("effort of 12 makes no sense: it goes from 0 to 9", ("--effort", "12")),
        ("0 to 9", ("--effort", "-1")),
        ("same bits", ("--quality", "50", "--coding", "fixed")),
        ("same bits", ("--bitrate", "20k", "--coding", "fixed")),
    ],
)
def test_bad_options_of_encode(refused, tmp_path, clip, words, options):
    refused(words, "encode", clip, tmp_path / "out.cbv", *RANDOM, *options)
    assert names(tmp_path) == []


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("--frames 0", ("--frames", "0")),
        ("no frames from 9 s", ("--from", "9")),
        ("64x48 have 3,072 pixels", ("--max-pixels", "3071")),
        ("no frames from 1e+11 s", ("--from", "100000000000.5")),
    ],
)
def test_bad_options_of_decode(refused, tmp_path, stream, words, options):
    refused(words, "decode", stream, tmp_path / "out.mp4", *options)
    assert names(tmp_path) == []


def test_bad_options_of_metrics(refused, clip, stream):
    refused("--frames 0", "metrics", clip, stream, "--frames", "0")
    refused("--frames -1", "metrics", clip, stream, "--frames", "-1")
    refused("does not exist", "metrics", clip, clip.with_name("none.mp4"))


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["code"],
        ["encode", "a"],
        *(["encode", "a", "b", "--frame-rate", rate] for rate in ("x", "-1", "1/0", "1e999999999")),
        *(["decode", "a", "b", "--from", time] for time in ("x", "-1", "inf", "nan", "1e999999999")),
    ],
)
def test_what_is_no_command_shows_the_usage(capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("usage: cbvc")


def test_models_that_are_unknown_or_do_not_fit(refused, tmp_path, clip, stream, model, monkeypatch):
    refused("no model 'none'", "encode", clip, tmp_path / "out.cbv", "--model", "none")
    other = tmp_path / "other"
    save_model(other, model.preset, jax.tree.map(lambda x: x / 2, model.params), model.codebooks, "# another\n")
    refused("was made with model", "decode", stream, tmp_path / "out.mp4", "--model", other)
    monkeypatch.setenv("CBVC_MODELS", "")
    refused("is not installed", "decode", stream, tmp_path / "out.mp4")
    (other / "model.safetensors").write_bytes(b"\x00" * 100)
    refused("is damaged", "encode", clip, tmp_path / "out.cbv", "--model", other)
    assert names(tmp_path) == ["other"]


def test_outputs_that_cannot_be(refused, tmp_path, clip, stream):
    refused("does not exist", "encode", clip, tmp_path / "none" / "out.cbv", *RANDOM)
    refused("does not exist", "decode", stream, tmp_path / "none" / "out.mp4")
    refused("cannot tell what to write", "decode", stream, tmp_path / "out.xyz")
    refused("is a folder", "encode", clip, tmp_path, *RANDOM)
    assert names(tmp_path) == []


def test_standard_output_that_is_closed(refused, tmp_path, clip, stream, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", None)
        refused("that is closed", "encode", clip, "-", *RANDOM)
        refused("that is closed", "decode", stream, "-")


def test_the_input_is_not_replaced(refused, tmp_path, clip):
    source = tmp_path / "clip.mp4"
    source.write_bytes(clip.read_bytes())
    refused("is the input itself", "encode", source, tmp_path / "." / "clip.mp4", *RANDOM)
    assert source.read_bytes() == clip.read_bytes()


def test_an_older_output_stays_when_encoding_fails(refused, tmp_path, clip):
    """The second picture has another size, which shows when the first has been coded."""
    old = tmp_path / "out.cbv"
    old.write_bytes(b"precious")
    header = b"YUV4MPEG2 W64 H48 F25:1 C420\n"
    source = tmp_path / "in.y4m"
    source.write_bytes(header + b"FRAME\n" + bytes(64 * 48 * 3 // 2) + b"garbage\n" * 100)
    refused("no frame begins", "encode", source, old, *RANDOM, "--rate", "low")
    assert old.read_bytes() == b"precious"
    assert names(tmp_path) == ["in.y4m", "out.cbv"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk(refused, clip):
    refused("disk is full", "encode", clip, "/dev/full", *RANDOM, "--rate", "low")
