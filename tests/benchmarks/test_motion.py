"""A picture that moves under the codec: every speed begins with the same keyframe, and what is asked for is checked."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from cbvc_jax.benchmarks.motion import main, run
from cbvc_jax.weights import load_model

PICTURE = np.random.default_rng(0).integers(0, 255, (80, 100, 3), dtype=np.uint8)


def test_speeds_share_their_keyframe_and_part_after_it(model_folder):
    model = load_model(model_folder)
    still, moving = (run(model, PICTURE, "low", speed, 3, 80) for speed in (0, 2))
    assert len(still) == len(moving) == 3
    assert still[0] == moving[0]
    assert still[1:] != moving[1:]
    # The keyframe of a picture that begins where the other ended is that of another picture.
    assert run(model, PICTURE[:, 4:], "low", 0, 1, 80)[0] != still[0]


def test_the_table_has_a_row_a_rate_and_speed(model_folder, tmp_path, capsys):
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(PICTURE).save(folder / "a.png")
    options = [str(folder), "--model", str(model_folder), "--frames", "3", "--side", "80"]
    assert main([*options, "--speeds", "0", "2", "--rates", "low", "high"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "1 pictures"
    assert [line.split(" | ")[0] for line in lines[4:]] == ["| low", "| low", "| high", "| high"]
    assert lines[2] == "| rate | pixels a frame | frame 0 | frame 1 | frame 2 |"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--speeds", "20", "--side", "80"], "no picture is 400x80 or larger"),
        (["--side", "64"], "more than 64 pixels"),
        (["--rates", "none"], "no rate 'none'"),
    ],
)
def test_what_cannot_be_shown_is_told(model_folder, tmp_path, options, words):
    Image.fromarray(PICTURE).save(tmp_path / "a.png")
    with pytest.raises(SystemExit, match=words):
        main([str(tmp_path / "a.png"), "--model", str(model_folder), *options])
