"""What is left of a difference is measured along one GOP, as a share."""

from __future__ import annotations

from pathlib import Path

from cbvc_jax.export.fading import fading, main


def test_a_difference_is_followed_to_the_next_keyframe(mini, stream):
    left = fading(stream, mini)
    assert len(left) == 4
    assert left[0] == 1.0
    assert all(0.0 < share < 3.0 for share in left)
    assert left[-1] != 1.0
    assert fading(stream, mini, frames=2) == left[:2]


def test_the_command_prints_the_shares_and_errors(mini, stream, capsys, tmp_path):
    assert main([str(stream), "--model", str(mini.path), "--frames", "2"]) == 0
    assert "| 0 | 1.0e+00 |\n| 1 |" in capsys.readouterr().out
    assert main([str(tmp_path / "none.cbv")]) == 1
    assert "fading: " in capsys.readouterr().err


def test_differences_fade_with_the_bundled_model():
    left = fading(Path(__file__).parents[1] / "conformance" / "streams" / "long.cbv")
    assert len(left) == 96
    assert max(left[32:]) < 0.05
    assert left[-1] < 0.01
