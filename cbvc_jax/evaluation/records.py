"""Measured points on disk: `OUT/points/CLIP.jsonl`, one record a line; all of them again as `OUT/points.csv`.

A file is written anew under a temporary name and renamed with each point, so that a run that was killed has lost none
but the point it was at.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from cbvc_jax.errors import UsageError
from cbvc_jax.evaluation.measure import Record, Task
from cbvc_jax.video.atomic import write_whole

COLUMNS = (
    *("dataset", "clip", "series", "setting", "codec", "gop", "width", "height", "frames", "frame_rate"),
    *("matrix", "range", "bytes", "bpp", "encode_fps", "decode_fps", "lpips_every"),
)


class Records:
    """The records below a folder, by clip, series and setting.

    Raises:
      UsageError: a file there does not hold such records.
    """

    def __init__(self, out: Path):
        self._folder = out / "points"
        self._records: dict[str, dict[tuple[str, str], Record]] = {}
        for file in sorted(self._folder.glob("*.jsonl")):
            for number, line in enumerate(file.read_text().splitlines(), 1):
                try:
                    self._keep(json.loads(line))
                except (ValueError, KeyError, TypeError) as error:
                    raise UsageError(f"{file}, line {number}, is no record of a point ({error}); remove it") from None

    def __iter__(self) -> Iterator[Record]:
        """Every record, by clip, series and rate."""
        for clip in sorted(self._records):
            yield from sorted(self._records[clip].values(), key=lambda r: (r["series"], r["bpp"], r["setting"]))

    def __len__(self) -> int:
        return sum(map(len, self._records.values()))

    def holds(self, task: Task) -> bool:
        """Whether the task's point is here as it would be measured now, with all metrics and pictures asked for."""
        identity = task.identity()
        record = self._records.get(task.clip.name, {}).get((identity["series"], identity["setting"]))
        return (
            record is not None
            and all(record.get(name) == value for name, value in identity.items())
            and all(metric in record["mean"] for metric in (*task.metrics, "psnr_yuv_db", "ms_ssim_y"))
            and (not any(m.startswith("lpips") for m in task.metrics) or record.get("lpips_every") == task.lpips_every)
            and (task.picture is None or task.picture.exists())
        )

    def bpp(self, task: Task) -> float | None:
        """Rate of a task's point, if `holds`."""
        identity = task.identity()
        if not self.holds(task):
            return None
        return self._records[task.clip.name][identity["series"], identity["setting"]]["bpp"]

    def add(self, record: Record) -> None:
        """Keeps a record, in place of an older one of the same point; returns nothing."""
        self._keep(record)
        lines = [json.dumps(r, allow_nan=False) for r in self if r["clip"] == record["clip"]]
        write_whole(self._folder / f"{record['clip']}.jsonl", "\n".join(lines) + "\n")

    def _keep(self, record: Record) -> None:
        if not (record["bpp"] > 0 and isinstance(record["mean"], dict)):
            raise ValueError("it has no rate or no quality")
        self._records.setdefault(record["clip"], {})[record["series"], record["setting"]] = record

    def csv(self) -> str:
        """All records as a table: settings, rate, speed, and the mean of every metric."""
        metrics = list(dict.fromkeys(metric for record in self for metric in record["mean"]))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow([*COLUMNS, *metrics, "crop", "model_sha256", "command"])
        for record in self:
            crop = "x".join(map(str, record["crop"])) if record["crop"] else ""
            values = [record.get(name) for name in COLUMNS] + [record["mean"].get(metric) for metric in metrics]
            writer.writerow([*values, crop, record["model_sha256"], record["command"]])
        return text.getvalue()


def picture_file(out: Path, clip: str, series: str, setting: str, wanted: bool = True) -> Path | None:
    """Where the picture of a point lies, or None if none is wanted."""
    return out / "pictures" / clip / f"{series}_{setting.replace(' ', '')}.png" if wanted else None
