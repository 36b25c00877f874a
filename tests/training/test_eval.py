"""`eval.py` measures the newest checkpoint of a run as `cbvc rd` measures a model."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
from PIL import Image

import eval as script
from cbvc_jax.training.checkpoints import Checkpoints
from cbvc_jax.training.state import init_state
from cbvc_jax.weights import load_model


@pytest.fixture
def flags(monkeypatch, config, tmp_path, moving):
    clip = tmp_path / "clip"
    clip.mkdir()
    for number, frame in enumerate(moving(3, 48, 64)):
        Image.fromarray(frame).save(clip / f"{number}.png")
    values = {"CONFIG": config, "WORKDIR": str(tmp_path / "run"), "CLIPS": [str(clip)]}
    for name, value in values.items():
        monkeypatch.setattr(script, name, SimpleNamespace(value=value))
    return values


@pytest.mark.slow
def test_the_newest_checkpoint_is_measured(flags, config, tmp_path):
    checkpoints = Checkpoints(flags["WORKDIR"], config)
    state = init_state(config)
    for step in (2, 4):
        checkpoints.save(state.replace(step=state.step + step))
    checkpoints.close()
    with pytest.raises(SystemExit) as ended:
        script.main(["eval.py", "--frames", "2", "--anchors"])
    assert ended.value.code == 0
    out = tmp_path / "run" / "eval"
    points = [json.loads(line) for line in (out / "points" / "clip.jsonl").read_text().splitlines()]
    assert {(p["series"], p["setting"], p["frames"]) for p in points} == {
        ("step_4-gop32", "high", 2),
        ("step_4-gop32", "low", 2),
    }
    assert {p["model_sha256"] for p in points} == {load_model(out / "step_4").sha256.hex()}
    assert (out / "report.html").exists()


def test_a_run_without_checkpoints_is_told(flags):
    with pytest.raises(SystemExit, match="has no checkpoint"):
        script.main(["eval.py"])
