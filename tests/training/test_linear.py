"""A codec without networks: what it learns from clips, what it gathers from frame to frame, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cbvc_jax.presets import KEYFRAME
from cbvc_jax.training.linear import Footage, LinearCodec, learn, main, run
from tests.mini_preset import MINI

FRAMES, SIDE = 3, 64


def moving(seed: int) -> np.ndarray:
    """A smooth picture that moves by two pixels a frame, in [-1, 1]."""
    noise = np.random.default_rng(seed).standard_normal((24, 24, 3)).repeat(4, axis=0).repeat(4, axis=1)
    for axis in (0, 1):
        noise = sum(np.roll(noise, i, axis) for i in range(-3, 4)) / 7.0
    picture = np.clip(noise, -1, 1).astype(np.float32)
    return np.stack([picture[16 : 16 + SIDE, 2 * t : 2 * t + SIDE] for t in range(FRAMES)])


@pytest.fixture(scope="module")
def footage():
    clips = np.stack([moving(seed) for seed in range(3)])
    keys = 0.7 * clips[:, 0]
    return Footage(clips, keys)


@pytest.fixture(scope="module")
def codec(footage):
    return learn(footage, MINI.codebook_sizes(KEYFRAME), dim=4)


def test_a_picture_that_stands_still_gains_with_every_frame(footage, codec):
    psnr = run(footage, codec, still=True)
    assert psnr == sorted(psnr)
    assert psnr[-1] > psnr[0] + 1.0


def test_displacements_are_worth_more_than_none(footage, codec):
    nothing = LinearCodec(np.zeros((1, 2), np.float32), [])
    moved = nothing._replace(displacements=codec.displacements)
    assert run(footage, moved)[-1] > run(footage, nothing)[-1] + 1.0
    assert run(footage, codec)[-1] > run(footage, moved)[-1]


def test_sizes_are_those_of_the_rate(codec):
    first, second, third = MINI.codebook_sizes(KEYFRAME)
    assert codec.displacements.shape == (second, 2)
    assert [[book.shape for book in stage.books] for stage in codec.stages] == [
        [(first, 4), (first, 4)],
        [(second, 4)],
        [(third, 4), (third, 4)],
    ]
    # Nothing at all can be said by each.
    assert not codec.displacements[0].any()
    assert not any(book[0].any() for stage in codec.stages for book in stage.books)


def test_the_table_has_a_row_a_rate_codec_and_way_to_move(model_folder, tmp_path, capsys):
    for name, seed in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        for t, picture in enumerate(moving(seed)):
            Image.fromarray(np.uint8(127.5 * (picture + 1))).save(tmp_path / name / f"{t}.png")
    options = ["--model", str(model_folder), "--frames", "3", "--side", "64", "--dim", "4", "--rates", "low"]
    assert main([str(tmp_path / "a"), "--train", str(tmp_path / "b"), *options]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 clips, codebooks from 1"
    rows = [line.split(" | ") for line in lines[4:]]
    ways = ("as they move", "standing still")
    assert [row[1:3] for row in rows] == [[by, way] for way in ways for by in (str(model_folder), "linear")]
    # One keyframe serves all.
    assert len({row[3] for row in rows}) == 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--side", "100"], "multiple of 64"),
        (["--frames", "1"], "frames 2 or more"),
        (["--side", "128"], "no clip has 8 frames of 128x128"),
        (["--rates", "none"], "no rate 'none'"),
    ],
)
def test_what_cannot_be_measured_is_told(model_folder, tmp_path, options, words):
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / "a.png")
    picture = str(tmp_path / "a.png")
    with pytest.raises(SystemExit, match=words):
        main([picture, "--train", picture, "--model", str(model_folder), *options])
