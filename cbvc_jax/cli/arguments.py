"""Values of options that several subcommands share, checked before anything is opened."""

from __future__ import annotations

import argparse
import re
from fractions import Fraction

from cbvc_jax.errors import UsageError


def check_frames(frames: int | None) -> None:
    """Returns nothing; raises UsageError if `--frames` asks for less than one."""
    if frames is not None and frames < 1:
        raise UsageError(f"--frames {frames}: there must be at least one")


def parse_size(text: str | None) -> tuple[int, int] | None:
    """(width, height) from "WxH", None from None; UsageError if it is neither."""
    if text is None:
        return None
    match = re.fullmatch(r"([0-9]{1,9})x([0-9]{1,9})", text)
    if match is None:
        raise UsageError(f"--size {text}: give width and height in pixels as WxH, e.g. 352x288")
    return int(match[1]), int(match[2])


def parse_crop(text: str | None) -> tuple[int, int] | int | None:
    """(width, height) from "WxH", a number from "N", None from None; UsageError if it is none of these."""
    if text is None or "x" in text:
        return parse_size(text)
    if re.fullmatch(r"[1-9][0-9]{0,4}", text) is None:
        raise UsageError(
            f"--crop {text}: give WxH in pixels, e.g. 1920x1024, or a number that the sides are to divide by"
        )
    return int(text)


def frame_rate(text: str) -> Fraction:
    """Frames a second from "25", "29.97" or "30000/1001"; for argparse."""
    return _fraction(text, "a number of frames a second")


def seconds(text: str) -> Fraction:
    """Seconds from "2", "0.16" or "1/25", exactly: a frame that begins at that very time counts; for argparse."""
    return _fraction(text, "a number of seconds from the beginning")


def bits_a_second(text: str) -> Fraction:
    """Bits a second from "300000", "300k" or "1.5M"; for argparse."""
    unit = {"k": 1000, "M": 1000000}.get(text[-1:], 1)
    return _fraction(text if unit == 1 else text[:-1], "a number of bits a second, such as 300k or 1.5M") * unit


def positive(text: str) -> int:
    """A whole number from 1 on; for argparse."""
    if re.fullmatch(r"0*[1-9][0-9]{0,5}", text) is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1 on")
    return int(text)


def _fraction(text: str, meaning: str) -> Fraction:
    # Plain digits only: an exponent could ask for a number that fills the memory.
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{0,12})?|[0-9]{1,12}/0*[1-9][0-9]{0,11}", text) is None:
        raise argparse.ArgumentTypeError(f"'{text}' is not {meaning}")
    return Fraction(text)
