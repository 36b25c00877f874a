"""The codec's promises: any size, decoder equals encoder, the same bytes twice, streaming, seeking, damage in words."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest

from cbvc_jax.bitstream import StreamReader, TruncatedError
from cbvc_jax.codec import Decoder, Encoder, encode
from cbvc_jax.errors import BitstreamError, ModelError, UsageError
from cbvc_jax.geometry import FOLLOWS, LEADERS, MOVES, STAYS, frame_bits, stage_grids
from cbvc_jax.model import CodecModel
from cbvc_jax.modules.search import look_up
from cbvc_jax.stream import StreamDecoder
from cbvc_jax.video import VideoFrame, VideoInfo


def info_of(frames: np.ndarray) -> VideoInfo:
    return VideoInfo(frames.shape[2], frames.shape[1], Fraction(1, 30), Fraction(30))


def as_video(frames: np.ndarray, first: int = 0):
    return (VideoFrame(rgb, first + i) for i, rgb in enumerate(frames))


def encoded(model, frames: np.ndarray, rate: str = "low", gop: int = 3, first: int = 0, **options) -> bytes:
    file = io.BytesIO()
    for _ in encode(as_video(frames, first), file, model, info_of(frames), rate, gop, **options):
        pass
    return file.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (64, 64), (65, 30), (17, 130)])
def test_decoder_shows_the_encoders_own_reconstruction(model, moving, size):
    frames = moving(4, *size)
    encoder, decoder = Encoder(model, *size, rate="medium", gop=3), Decoder(model, *size)
    for frame in frames:
        coded = encoder.push(frame)
        shown = np.asarray(decoder.push(coded.rate, coded.indices))
        assert shown.shape == (*size, 3)
        assert shown.dtype == np.uint8
        np.testing.assert_array_equal(shown, encoder.reconstruction())


def test_indices_cover_the_true_frame_only(model, moving):
    coded = Encoder(model, 65, 30).push(moving(1, 65, 30)[0])
    assert [i.shape for i in coded.indices] == [(2, rows, cols) for rows, cols in stage_grids(65, 30)]


@pytest.mark.parametrize("width", [80, 75])
def test_the_encoder_takes_what_lies_outside_the_frame_for_its_last_block_again(model, moving, width):
    """So does a decoder, which repeats that block's indices."""
    frame = moving(1, 64, width)[0]
    whole = np.concatenate([frame, np.repeat(frame[:, -1:], 80 - width, axis=1)], axis=1)
    whole = np.concatenate([whole, *(whole[:, 64:],) * 3], axis=1)
    inside, told = Encoder(model, 64, width).push(frame), Encoder(model, 64, 128).push(whole)
    np.testing.assert_array_equal(inside.indices[0], told.indices[0][:, :, :5])


def test_payload_is_arithmetic_and_encoding_is_deterministic(model, moving):
    frames = moving(5, 48, 80)
    stream = encoded(model, frames, "low", gop=3, coding="fixed")
    assert stream == encoded(model, frames, "low", gop=3, coding="fixed")
    for record in StreamReader(io.BytesIO(stream)):
        sizes = model.preset.codebook_sizes(record.rate)
        assert record.payload_bytes == -(-frame_bits(48, 80, sizes) // 8)


def test_both_index_codings_decode_to_the_same_pictures(model, moving):
    frames = np.repeat(moving(2, 64, 96), 5, axis=0)
    fixed, adaptive = (encoded(model, frames, "low", gop=10, coding=c) for c in ("fixed", "adaptive"))
    assert adaptive == encoded(model, frames, "low", gop=10)
    assert len(adaptive) < len(fixed)
    shown = [[f.rgb for f in StreamDecoder(io.BytesIO(stream), model)] for stream in (fixed, adaptive)]
    np.testing.assert_array_equal(*shown)
    with pytest.raises(UsageError, match="no index coding 'huffman'"):
        encoded(model, frames, coding="huffman")


def test_blocks_that_stand_still_are_skipped_and_decode_as_the_encoder_sees_them(model, moving):
    still = np.repeat(moving(1, 50, 70), 8, axis=0)
    still[4:, 20:30, 40:60] = 255 - still[4:, 20:30, 40:60]
    encoder, decoder = Encoder(model, 50, 70, rate="high", skips=True), Decoder(model, 50, 70)
    coded = []
    for frame in still:
        coded.append(encoder.push(frame))
        shown = np.asarray(decoder.push(coded[-1].rate, coded[-1].indices, coded[-1].skip))
        np.testing.assert_array_equal(shown, encoder.reconstruction())
    assert coded[0].skip is None
    assert all(c.skip is not None and c.skip.shape == (4, 5) for c in coded[1:])
    stream = encoded(model, still, "high", gop=8, coding="skipping")
    assert len(stream) < 0.7 * len(encoded(model, still, "high", gop=8))
    shown = [frame.rgb for frame in StreamDecoder(io.BytesIO(stream), model)]
    np.testing.assert_array_equal(shown[-1], encoder.reconstruction())


@pytest.mark.parametrize("name", ["model", "displacing_model"])
def test_a_skipped_block_keeps_its_latents_or_moves_them(name, request):
    model = request.getfixturevalue(name)
    preset, random = model.preset, np.random.default_rng(0)
    codec, books = CodecModel(preset), model.codebooks["high"]
    y_ref = random.normal(size=(1, 16, 16, preset.latent_channels)).astype(np.float32)
    sizes = zip(preset.codebook_sizes("high"), (8, 4, 2), strict=True)
    indices = [random.integers(0, k, (1, n, n, 2)) for k, n in sizes]
    skip = np.zeros((1, 8, 8), np.int32)
    skip[0, 1, 3], skip[0, :, 4:] = STAYS, STAYS

    def of(method, *args):
        return np.asarray(codec.apply({"params": model.params}, *args, method=method))

    shown = of("decode", indices, y_ref, books, "high", skip)
    np.testing.assert_array_equal(shown[:, 2:4, 6:8], y_ref[:, 2:4, 6:8])
    np.testing.assert_array_equal(shown[:, :, 8:], y_ref[:, :, 8:])
    assert (shown[:, :2, :8] != y_ref[:, :2, :8]).any()
    if preset.displaces:
        skip[0, :4, :4], skip[0, 4:] = MOVES, STAYS
        codewords = [look_up(i, book) for i, book in zip(indices, books, strict=True)]
        codewords[1] = codewords[1].at[:, 2:].set(0.0).at[:, :, 2:].set(0.0)
        shown = of("decode", indices, y_ref, books, "high", skip)
        np.testing.assert_allclose(shown[:, :8, :8], of("moved", codewords, y_ref)[:, :8, :8], atol=1e-5)
        assert np.abs(shown - y_ref)[:, :8, :8].max() > 0.1
        leaders = random.integers(0, LEADERS, (1, 8, 8))
        skip[0, :4, :4] = FOLLOWS + leaders[0, :4, :4]
        shown = of("decode", indices, y_ref, books, "high", skip)
        followed = of("followed", codewords, y_ref, leaders)
        np.testing.assert_allclose(shown[:, :8, :8], followed[:, :8, :8], atol=1e-5)
        assert np.abs(followed - of("moved", codewords, y_ref))[:, :8, :8].max() > 0.1


def test_blocks_that_move_need_a_model_with_displacements(model, moving):
    coded = Encoder(model, 32, 32).push(moving(1, 32, 32)[0])
    decoder = Decoder(model, 32, 32)
    decoder.push("key", coded.indices)
    indices = tuple(np.zeros((2, n, n), np.uint16) for n in (2, 1, 1))
    with pytest.raises(UsageError, match="no displacements"):
        decoder.push("low", indices, np.full((2, 2), MOVES, np.uint8))


def test_kinds_follow_the_gop_and_the_rate_may_change(model, moving):
    frames = moving(6, 32, 32)
    encoder, decoder = Encoder(model, 32, 32, rate="high", gop=4), Decoder(model, 32, 32)
    rates = [None, "low", "medium", None, None, "low"]
    coded = [encoder.push(f, rate=r) for f, r in zip(frames, rates, strict=True)]
    assert [c.rate for c in coded] == ["key", "low", "medium", "high", "key", "low"]
    for c in coded:
        decoder.push(c.rate, c.indices)
    np.testing.assert_array_equal(np.asarray(decoder.push("low", coded[-1].indices)).shape, (32, 32, 3))


def test_a_stream_decodes_to_its_frames_and_times(model, moving):
    frames = moving(5, 40, 56)
    stream = StreamDecoder(io.BytesIO(encoded(model, frames, first=-2)), model)
    shown = list(stream)
    assert [f.timestamp for f in shown] == [0, 1, 2, 3, 4]
    assert stream.info.frame_rate == 30
    encoder = Encoder(model, 40, 56, "low", 3)
    for frame, source in zip(shown, frames, strict=True):
        encoder.push(source)
        np.testing.assert_array_equal(frame.rgb, encoder.reconstruction())


def test_from_a_time_gives_the_same_pictures_as_from_the_beginning(model, moving):
    data = encoded(model, moving(8, 32, 48))
    everything = list(StreamDecoder(io.BytesIO(data), model))
    later = list(StreamDecoder(io.BytesIO(data), model, start=Fraction(5, 30)))
    assert [f.timestamp for f in later] == [5, 6, 7]
    for frame in later:
        np.testing.assert_array_equal(frame.rgb, everything[frame.timestamp].rgb)


def test_a_stream_that_was_cut_decodes_up_to_the_cut(model, moving):
    data = encoded(model, moving(5, 32, 32))
    decoder = iter(StreamDecoder(io.BytesIO(data[:-15]), model))
    shown = []
    with pytest.raises(TruncatedError):
        for frame in decoder:
            shown.append(frame.timestamp)
    assert shown == [0, 1, 2, 3]


def test_conceal_goes_on_at_the_next_keyframe(model, moving):
    data = bytearray(encoded(model, moving(9, 32, 32)))
    records = list(StreamReader(io.BytesIO(bytes(data))))
    data[records[4].offset + 5] ^= 0xFF
    with pytest.raises(BitstreamError):
        list(StreamDecoder(io.BytesIO(bytes(data)), model))
    stream = StreamDecoder(io.BytesIO(bytes(data)), model, conceal=True)
    assert [f.timestamp for f in stream] == [0, 1, 2, 3, 6, 7, 8]
    assert len(stream.losses) == 1
    assert stream.losses[0].frames_lost == 2


def test_bad_use_is_told_in_words(model, moving):
    with pytest.raises(UsageError, match="uint8"):
        Encoder(model, 32, 32).push(np.zeros((32, 31, 3), np.uint8))
    with pytest.raises(UsageError, match="GOP"):
        Encoder(model, 32, 32, gop=0)
    with pytest.raises(ModelError, match="no rate"):
        Encoder(model, 32, 32, rate="extreme")
    with pytest.raises(UsageError, match="keyframe"):
        Decoder(model, 32, 32).push("low", Encoder(model, 32, 32).push(moving(1, 32, 32)[0]).indices)


def test_the_wrong_model_is_refused(model, moving):
    data = bytearray(encoded(model, moving(1, 16, 16)))
    import dataclasses

    other = dataclasses.replace(model, sha256=bytes(32))
    with pytest.raises(ModelError, match="made with model"):
        StreamDecoder(io.BytesIO(bytes(data)), other)
    with pytest.raises(ModelError, match="not installed"):
        StreamDecoder(io.BytesIO(bytes(data)))
