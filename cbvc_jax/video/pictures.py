"""Folders of pictures, numbered names and single pictures as video, read with Pillow."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from cbvc_jax.errors import VideoError
from cbvc_jax.video.frames import RGB, check_size

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pnm"})
NUMBER_FIELD = re.compile(r"%(0(\d+))?d")


def is_pattern(path: Path) -> bool:
    """True if the file name has a frame number in it, such as `out_%05d.png`."""
    return NUMBER_FIELD.search(path.name) is not None


def numbered_files(path: Path) -> list[Path]:
    """The files in the folder of `path` that its numbered name stands for, by number."""
    field = NUMBER_FIELD.search(path.name)
    if field is None:
        raise VideoError(f"{path} has no number field such as %05d in its name")
    digits = rf"\d{{{int(field[2])},}}" if field[2] else r"\d+"
    name = re.compile(re.escape(path.name[: field.start()]) + f"({digits})" + re.escape(path.name[field.end() :]))
    folder = path.parent
    if not folder.is_dir():
        return []
    found = [(int(match[1]), file) for file in folder.iterdir() if (match := name.fullmatch(file.name))]
    return [file for _, file in sorted(found)]


def list_pictures(path: Path) -> list[Path]:
    """The pictures of a folder, a numbered name or one file, in the order of their names with numbers by value.

    Raises:
      VideoError: there is none.
    """
    if is_pattern(path):
        files = numbered_files(path)
    elif path.is_dir():
        files = [file for file in path.iterdir() if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")]
        files.sort(key=_natural_key)
    else:
        files = [path]
    if not files:
        kinds = " ".join(sorted(SUFFIXES))
        raise VideoError(f"{path} holds no pictures; looked for files ending in {kinds}")
    return files


def read_pictures(files: list[Path]) -> Iterator[RGB]:
    """RGB uint8 [H, W, 3] of each picture; raises VideoError, naming the file, if one is damaged or of another size."""
    first: tuple[int, int] | None = None
    for file in files:
        rgb = read_picture(file)
        size = rgb.shape[1], rgb.shape[0]
        first = first or size
        if size != first:
            raise VideoError(
                f"{file} is {size[0]}x{size[1]} pixels but {files[0].name} is {first[0]}x{first[1]}; "
                "the pictures of a video must all have one size"
            )
        yield rgb


def read_picture(file: Path) -> RGB:
    """RGB uint8 [H, W, 3] of one picture, turned upright by its EXIF tag, transparency laid over black.

    Raises:
      VideoError: it cannot be opened, is no picture, or is damaged.
    """
    try:
        with Image.open(file) as picture:
            # Before the pixels are decoded: a small file can claim any size.
            check_size(*picture.size)
            upright = ImageOps.exif_transpose(picture)
            return np.array(_to_rgb(upright))
    except UnidentifiedImageError as error:
        raise VideoError(f"{file} is not a picture that can be read") from error
    except VideoError as error:
        raise VideoError(f"{file}: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise VideoError(f"{file} cannot be read as a picture: {error}") from error


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode.startswith("I"):
        # 16-bit grey; Pillow's own conversion would clip it at 255.
        gray = np.asarray(picture).astype(np.float64) / 257
        return Image.fromarray(np.clip(np.rint(gray), 0, 255).astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        rgba = picture.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, rgba).convert("RGB")
    return picture.convert("RGB")


def _natural_key(file: Path) -> list[tuple[int, int, str]]:
    parts = re.split(r"(\d+)", file.name)
    return [(0, int(part), part) if part.isdigit() else (1, 0, part) for part in parts]
