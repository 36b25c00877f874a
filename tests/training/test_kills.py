"""Runs that are stopped, gently or not, end as one that was left alone."""

from __future__ import annotations

import signal
import time

import pytest

from tests.training.kills import differences, newest, run_killed, run_whole, start, write_data


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
