"""The README's Python runs as it is written, and what it names exists."""

from __future__ import annotations

import re
import shutil
from fractions import Fraction
from pathlib import Path

from cbvc_jax.cli.main import build_parser
from cbvc_jax.video import VideoInfo, create_video, open_video

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_python_runs(tmp_path, moving, model_folder, monkeypatch, capsys):
    shutil.copytree(model_folder, tmp_path / "models" / "small")
    monkeypatch.setenv("CBVC_MODELS", str(tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    with create_video("in.mp4", VideoInfo(64, 48, Fraction(1, 25), Fraction(25))) as video:
        for number, rgb in enumerate(moving(3, 48, 64)):
            video.write(rgb, number)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    exec(code, {})
    assert capsys.readouterr().out == "key key\npredicted medium\npredicted medium\n"
    with open_video("out.mp4") as video:
        assert len(list(video)) == 3


def test_the_commands_parse():
    parser = build_parser()
    commands = re.findall(r"^cbvc (.*?)(?: +#.*)?$", README, re.MULTILINE)
    assert len(commands) >= 10
    for command in commands:
        parser.parse_args(command.split())


def test_the_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in set(re.findall(r"`?make ([a-z-]+)", README)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
