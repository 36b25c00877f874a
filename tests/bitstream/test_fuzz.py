"""A short run of the fuzzer; `python -m cbvc_jax.bitstream.fuzz` is the long one."""

import random

from cbvc_jax.bitstream import fuzz
from cbvc_jax.bitstream.mutate import join, random_stream, split


def test_three_thousand_damaged_streams():
    report = fuzz.run(3000, seed=7)
    assert report.failures == []
    assert sum(report.outcomes.values()) == 3000
    assert {"damaged", "concealed", "cut short", "complete", "unsupported", "header damaged"} <= set(report.outcomes)


def test_parts_make_up_the_stream_again():
    for seed in range(50):
        data = random_stream(random.Random(seed))
        assert join(split(data)) == data
        for mode in fuzz.MODES:
            assert fuzz.read(data, mode, seed) == "complete"


def test_a_reader_that_fails_is_reported(monkeypatch, capsys):
    def broken(file):
        raise ValueError("not typed")

    monkeypatch.setattr(fuzz, "summarize", broken)
    assert fuzz.main(["--streams", "50", "--seed", "1"]) == 1
    assert "ValueError: not typed" in capsys.readouterr().out
