"""Runs that are stopped, gently or not, end as one that was left alone."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from tests.training.kills import ROOT, differences, newest, run_killed, run_whole, start, write_data


@pytest.mark.slow
def test_a_run_that_is_killed_and_one_that_is_told_to_stop_end_bit_identical(tmp_path):
    data = tmp_path / "data"
    write_data(data)
    run_whole(tmp_path / "whole", data)
    assert run_killed(tmp_path / "killed", data, kills=5, seed=0) == 5
    assert differences(tmp_path / "whole", tmp_path / "killed") == []
    process = start(tmp_path / "told", data)
    while not newest(tmp_path / "told") and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 0, (tmp_path / "told.log").read_text()[-2000:]
    assert not (tmp_path / "told" / "done").exists()
    assert start(tmp_path / "told", data).wait() == 0
    assert (tmp_path / "told" / "done").exists()
    assert differences(tmp_path / "whole", tmp_path / "told") == []


@pytest.mark.slow
def test_a_sweep_that_is_killed_goes_on_and_comes_to_its_end(tmp_path):
    data = tmp_path / "data"
    write_data(data)
    command = [sys.executable, "-m", "cbvc_jax.training.sweep", "--sweep", "tests/training/mini_sweep.py"]
    command += ["--workdir", str(tmp_path / "sweep"), "--"]
    command += [f"--config.data.folders={data}", f"--config.data.cache={tmp_path / 'cache'}"]
    first = subprocess.Popen(command, cwd=ROOT)
    while not newest(tmp_path / "sweep" / "k16") and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGTERM)
    assert first.wait() == 0
    ended = tmp_path / "sweep" / "k8" / "done"
    before = ended.stat().st_mtime_ns
    assert not (tmp_path / "sweep" / "k32").exists()
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0
    assert ended.stat().st_mtime_ns == before
    table = (tmp_path / "sweep" / "table.md").read_text().splitlines()
    assert [line.split("|")[1:3] for line in table[2:]] == [[f" k{k} ", " 24 "] for k in (8, 16, 32)]
    assert (tmp_path / "sweep" / "rd.png").exists()
