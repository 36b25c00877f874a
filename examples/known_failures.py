"""What a model does worst, on the bundled clip: `python examples/known_failures.py --output docs/known_failures.png`.

Codes 33 frames at the lowest rate, one GOP, and shows places of 96x64 pixels of the last one, source beside decoded:

    texture     the largest squared error
    smooth      the largest error among the twentieth of all places whose source is flattest
    motion      where the error has grown most since the keyframe
    lower edge  the largest error in what reaches below the last whole 64 lines, where the frame is padded
"""

from __future__ import annotations

import argparse
import io
import itertools
import sys
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from cbvc_jax import CbvcError, Encoder, load_model, open_video
from cbvc_jax.cache import use_compilation_cache
from cbvc_jax.evaluation.metrics import psnr_from_mse
from cbvc_jax.geometry import FRAME_MULTIPLE
from cbvc_jax.video.atomic import write_whole

CLIP = Path(str(resources.files("cbvc_jax"))) / "assets" / "clip" / "city_cc0.mp4"
FRAMES = 33
PLACE = (64, 96)
ZOOM = 3
LABEL_HEIGHT = 24


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help="name or folder of the model")
    parser.add_argument("--input", type=Path, default=CLIP, help="another video, at least 96x64")
    parser.add_argument("--output", type=Path, default=Path("known_failures.png"))
    args = parser.parse_args(argv)
    try:
        with open_video(args.input) as video:
            sources = [frame.rgb for frame in itertools.islice(video, FRAMES)]
        height, width = sources[0].shape[:2]
        if height < PLACE[0] or width < PLACE[1]:
            raise CbvcError(f"'{args.input}' is {width}x{height}: too small to show places of 96x64")
        use_compilation_cache()
        decoded = code(args.model, sources)
        found = places(sources, decoded)
        png = io.BytesIO()
        draw(sources[-1], decoded[-1], found).save(png, "PNG", optimize=True)
        write_whole(args.output, png.getvalue())
    except CbvcError as error:
        print(f"known_failures: {error}", file=sys.stderr)
        return 1
    for name, (top, left, why) in found.items():
        print(f"{name}: {PLACE[1]}x{PLACE[0]} pixels from column {left}, line {top}: {why}")
    return 0


def code(model_name: str, sources: list[np.ndarray]) -> list[np.ndarray]:
    """Every frame as decoded, at the model's last rate, the lowest; one keyframe."""
    model = load_model(model_name)
    encoder = Encoder(model, *sources[0].shape[:2], rate=model.preset.rates[-1], gop=FRAMES, cuts=False)
    shown = []
    for rgb in sources:
        encoder.push(rgb)
        shown.append(np.asarray(encoder.reconstruction()))
    return shown


def places(sources: list[np.ndarray], decoded: list[np.ndarray]) -> dict[str, tuple[int, int, str]]:
    """(top, left, what was measured there) of each failure, in the last frame."""
    first, last = (error(sources[n], decoded[n]) for n in (0, -1))
    mse, before = means(last), means(first)
    values = sources[-1].astype(np.float64).mean(axis=-1)
    # Rounded: sums in another order must not make one flat place flatter than the next.
    spread = np.round(np.maximum(means(values**2) - means(values) ** 2, 0.0), 3)
    height = sources[0].shape[0]
    # Places that reach below the last whole 64 lines; the lowest one where the height is a multiple of them.
    low = np.arange(len(mse)) > height - height % FRAME_MULTIPLE - PLACE[0]
    low[-1] = True
    scores = {
        "texture": (mse, lambda at: f"PSNR {psnr_from_mse(mse[at]):.1f} dB"),
        "smooth": (
            np.where(spread <= np.quantile(spread, 0.05), mse, 0.0),
            lambda at: f"spread {spread[at] ** 0.5:.1f}, error {mse[at] ** 0.5:.1f} levels",
        ),
        "motion": (
            mse - before,
            lambda at: f"PSNR {psnr_from_mse(before[at]):.1f} dB in the keyframe, {psnr_from_mse(mse[at]):.1f} dB here",
        ),
        "lower edge": (np.where(low[:, None], mse, 0.0), lambda at: f"PSNR {psnr_from_mse(mse[at]):.1f} dB"),
    }
    found = {}
    for name, (score, why) in scores.items():
        top, left = (int(i) for i in np.unravel_index(np.argmax(score), score.shape))
        found[name] = (top, left, why((top, left)))
    return found


def error(source: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Squared error of each pixel, the mean over R, G and B."""
    return np.mean((source.astype(np.float64) - decoded) ** 2, axis=-1)


def means(values: np.ndarray) -> np.ndarray:
    """The mean over each place that lies inside, by its top left pixel."""
    sums = np.pad(values, ((1, 0), (1, 0))).cumsum(axis=0).cumsum(axis=1)
    h, w = PLACE
    return (sums[h:, w:] - sums[:-h, w:] - sums[h:, :-w] + sums[:-h, :-w]) / (h * w)


def draw(source: np.ndarray, decoded: np.ndarray, found: dict[str, tuple[int, int, str]]) -> Image.Image:
    """One row a place: source and decoded, enlarged, under a line that says what it shows."""
    h, w = (ZOOM * n for n in PLACE)
    sheet = Image.new("RGB", (2 * w + ZOOM, len(found) * (h + LABEL_HEIGHT)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for row, (name, (top, left, why)) in enumerate(found.items()):
        y = row * (h + LABEL_HEIGHT)
        pen.text((4, y + 4), f"{name}: {why}", fill="black", font=font)
        for column, picture in enumerate((source, decoded)):
            part = Image.fromarray(picture[top : top + PLACE[0], left : left + PLACE[1]])
            sheet.paste(part.resize((w, h), Image.Resampling.NEAREST), (column * (w + ZOOM), y + LABEL_HEIGHT))
    return sheet


if __name__ == "__main__":
    sys.exit(main())
