"""The coder alone: what is put in comes out, its bytes are pinned, and rubbish is refused."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cbvc_jax.bitstream import rans
from cbvc_jax.errors import BitstreamError

TOTAL = 1 << rans.SCALE_BITS
PINNED = "036c00176b0e7c548b6380eb7742114ee8e8"


def table(weights):
    """Cumulative frequencies in proportion to `weights`, each step at least 1."""
    weights = np.array(weights)
    ends = np.cumsum(weights) * (TOTAL - len(weights)) // weights.sum() + np.arange(1, len(weights) + 1)
    return [0, *ends[:-1].tolist(), TOTAL]


def encode(tables, symbols):
    chosen = [np.array([t[s] for t, s in zip(tables, symbols, strict=True)], np.int64)]
    chosen.append(np.array([t[s + 1] for t, s in zip(tables, symbols, strict=True)], np.int64) - chosen[0])
    return rans.encode(*chosen)


tables = st.lists(st.integers(0, 1000), min_size=2, max_size=40).filter(any).map(table)


@settings(max_examples=100, deadline=None)
@given(st.data(), tables, st.integers(1, 9))
def test_symbols_come_back_in_no_more_bytes_than_their_information_and_four(data, cumulative, columns):
    symbols = data.draw(st.lists(st.integers(0, len(cumulative) - 2), max_size=200))
    coded = encode([cumulative] * len(symbols), symbols)
    decoder = rans.Decoder(coded)
    rows = [len(symbols[i : i + columns]) for i in range(0, len(symbols), columns)]
    assert decoder.symbols([cumulative], [0] * len(symbols), rows) == symbols
    decoder.finish()
    assert rans.Decoder(coded).run(np.array(cumulative), len(symbols)) == symbols
    bits = sum(16 - math.log2(cumulative[s + 1] - cumulative[s]) for s in symbols)
    assert 4 <= len(coded) <= 4 + bits / 8 * 1.01 + 1


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(tables, st.integers(0, 2**16)), min_size=1, max_size=60))
def test_each_symbol_may_have_its_own_table(pairs):
    symbols = [number % (len(cumulative) - 1) for cumulative, number in pairs]
    each = [cumulative for cumulative, _ in pairs]
    decoder = rans.Decoder(encode(each, symbols))
    assert decoder.symbols(each, range(len(each)), [len(each)]) == symbols
    decoder.finish()


def test_the_symbol_on_the_left_chooses_the_table():
    """With K = 2, table 2 is for the first of a row, 0 and 1 for what follows a 0 or 1. Rows may be empty."""
    skewed = [[0, 9, TOTAL], [0, TOTAL - 9, TOTAL], [0, TOTAL // 2, TOTAL]]
    symbols = [0, 1, 0, 1, 1, 0, 1, 0]
    lefts = [2, 0, 1, 0, 2, 1, 0, 1]
    coded = encode([skewed[left] for left in lefts], symbols)
    assert rans.Decoder(coded).symbols(skewed, [0] * 8, [0, 4, 0, 4], 1) == symbols
    assert len(coded) <= 5


def test_the_bytes_are_those_of_the_format_on_every_machine():
    rows = [table(range(1, 9)), table([1] * 5)]
    symbols = [(i * i + i // 3) % (len(rows[i % 2]) - 1) for i in range(40)]
    assert encode([rows[i % 2] for i in range(40)], symbols).hex() == PINNED


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), tables, st.integers(0, 60))
def test_any_bytes_are_decoded_or_refused(payload, cumulative, count):
    """What is decoded has these bytes only."""
    try:
        decoder = rans.Decoder(payload, offset=100)
        half = count // 2
        symbols = decoder.run(np.array(cumulative), half)
        symbols += decoder.symbols([cumulative], [0] * (count - half), [count - half])
        decoder.finish()
    except BitstreamError as error:
        assert 100 <= error.offset <= 100 + len(payload)
    else:
        assert encode([cumulative] * count, symbols) == payload


@pytest.mark.parametrize("payload", [b"", b"\x00\x80\x00", b"\x00\x7f\xff\xff", b"\x80\x00\x00\x00", b"\xff" * 9])
def test_a_payload_begins_with_a_state(payload):
    with pytest.raises(BitstreamError, match="begin"):
        rans.Decoder(payload)


def test_every_cut_and_every_extra_byte_is_noticed():
    cumulative = table(range(1, 30))
    symbols = [i % 29 for i in range(50)]
    coded = encode([cumulative] * 50, symbols)
    for changed in [coded[:cut] for cut in range(len(coded))] + [coded + b"\x00"]:
        with pytest.raises(BitstreamError):
            decoder = rans.Decoder(changed)
            decoder.symbols([cumulative], [0] * 50, [50])
            decoder.finish()
