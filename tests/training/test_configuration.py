"""Configurations, changes to them and sweeps: what is wrong is told by name."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from cbvc_jax.errors import UsageError
from cbvc_jax.presets import PRESETS
from cbvc_jax.training import sweep
from cbvc_jax.training.configuration import check_fields, load_config, parse_flags
from cbvc_jax.training.state import config_preset

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["wca4", "ca64", "resblock", "light"])
def test_the_papers_runs(name):
    config = load_config(str(ROOT / f"configs/{name}.py:low,ms_ssim"))
    assert (config.preset, config.rates, config.distortion) == (name, ("low",), "ms_ssim")
    gops = config.phases.gops
    assert (gops.frames, gops.crop) == (7, 256) and gops.batch >= 256
    assert config_preset(config) == PRESETS[name].with_rates("low")


def test_a_typo_is_told_with_the_nearest_field():
    config = load_config(str(ROOT / "configs/tiny.py"))
    check_fields(config, ["codebook.decay", "phases.gops.batch", "lr"])
    with pytest.raises(UsageError, match=r"no field 'codebok.decay'; the nearest is 'codebook.decay'"):
        check_fields(config, ["lr", "codebok.decay"])
    with pytest.raises(SystemExit, match=r"train.py: .* no field 'weigth_decay'; the nearest is 'weight_decay'"):
        parse_flags(["train.py", "--config", str(ROOT / "configs/tiny.py"), "--config.weigth_decay=0.1"])
    with pytest.raises(SystemExit, match=r"there is no configuration 'none.py'"):
        parse_flags(["train.py", "--config=none.py", "--config.lr=0.1"])


def test_codebook_sizes_come_from_the_configuration():
    config = load_config(str(ROOT / "configs/tiny.py"))
    assert config_preset(config) == PRESETS["tiny"]
    config.codebook.key_sizes, config.codebook.predicted_sizes = (64, 32, 16), (8, 4, 2)
    preset = config_preset(config)
    assert (preset.codebook_sizes("key"), preset.codebook_sizes("low")) == ((64, 32, 16), (8, 4, 2))


SWEEP = """
CONFIG = {config!r}

def get_sweep():
    yield "a", {{"codebook.key_sizes": (8, 4, 2), "lr": 0.001}}
    yield {second!r}, {{{field!r}: 1}}
"""


def write_sweep(folder, second="b", field="seed"):
    text = SWEEP.format(config=str(ROOT / "configs/tiny.py"), second=second, field=field)
    (folder / "sweep.py").write_text(text)
    return str(folder / "sweep.py")


def test_a_sweep_prints_one_command_a_task(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments = ["--sweep", write_sweep(tmp_path), "--workdir", str(tmp_path / "runs"), "--print"]
    sweep.main([*arguments, "--", "--config.data.folders=my data"])
    lines = [shlex.split(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 2
    assert "--config.codebook.key_sizes=(8, 4, 2)" in lines[0] and str(tmp_path / "runs" / "a") in lines[0]
    assert all(line[-1] == "--config.data.folders=my data" for line in lines)


def test_a_sweep_that_is_wrong_is_told(tmp_path):
    with pytest.raises(UsageError, match=r"task 'b': .* no field 'sed'; the nearest is 'seed'"):
        sweep.load_tasks(write_sweep(tmp_path, field="sed"), tmp_path, [])
    with pytest.raises(UsageError, match="same name"):
        sweep.load_tasks(write_sweep(tmp_path, second="a"), tmp_path, [])
    with pytest.raises(SystemExit, match="sweep: there is no configuration"):
        sweep.main(["--sweep", str(tmp_path / "none.py"), "--workdir", str(tmp_path)])


def test_a_sweep_gathers_a_table_and_a_plot(tmp_path):
    tasks = sweep.load_tasks(write_sweep(tmp_path), tmp_path, [])
    tasks[0].folder.mkdir()
    line = '{"step": 9, "loss": 0.5, "psnr/key": 25.0, "psnr/high": 24.0, "bpp/key": 0.1, "bpp/high": 0.09}\n'
    (tasks[0].folder / "metrics.jsonl").write_text('{"step": 6}\n' + line)
    table = sweep.gather(tasks, tmp_path).read_text().splitlines()
    assert table[0] == "| task | step | loss | psnr/key | bpp/key | bpp/high | psnr/high |"
    assert table[2] == "| a | 9 | 0.5 | 25 | 0.1 | 0.09 | 24 |" and table[3].startswith("| b |  |")
    assert (tmp_path / "rd.png").stat().st_size > 5000
