"""What a run tells of itself: the terminal, TensorBoard and JSON lines, the time it takes, and an alarm on collapse.

`metrics.jsonl` has one line a window of `log_every` steps, and nothing in it depends on the clock or on when the run
was stopped: the part of a window that lies before a checkpoint is kept beside it.
"""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from clu import metric_writers

from cbvc_jax.geometry import STAGE_STRIDES
from cbvc_jax.training.codebooks import usage_and_perplexity
from cbvc_jax.training.state import Config, TrainState
from cbvc_jax.training.step import Metrics
from cbvc_jax.video.atomic import write_whole

MEANS = ("loss", "commitment", "misfit", "autoencoding", "growth", "grad_norm", "skipped")
BY_STAGE = ("restarts/", "batch_perplexity/")
KEPT_WINDOWS = 64


class Clock:
    """Seconds since the last report, and which of them went into waiting for input and for the step."""

    def __init__(self):
        self.restart()

    def restart(self) -> None:
        self.began, self.steps, self.spent = time.perf_counter(), 0, {"input": 0.0, "step": 0.0}

    def timed(self, kind: str, function: Any, *args: Any) -> Any:
        """`function(*args)`, its time on the account of `kind`."""
        began = time.perf_counter()
        result = function(*args)
        self.spent[kind] += time.perf_counter() - began
        return result

    def report(self) -> dict[str, float]:
        """Milliseconds a step by kind and in all, and steps a second; starts anew."""
        total, steps = time.perf_counter() - self.began, max(self.steps, 1)
        spent = self.spent | {"rest": total - sum(self.spent.values())}
        self.restart()
        return {**{f"time/{k}_ms": 1e3 * v / steps for k, v in spent.items()}, "steps_per_s": steps / total}


class Watch:
    """Collects metrics step by step and writes them, window by window. Only process 0 writes."""

    def __init__(self, workdir: Path, config: Config, step: int):
        self.config, self.clock, self.workdir = config, Clock(), workdir
        self.writes = jax.process_index() == 0
        self.lines, self.open_windows = workdir / "metrics.jsonl", workdir / "open_windows.json"
        self.writer = metric_writers.create_default_writer(
            str(workdir), just_logging=not self.writes, asynchronous=False
        )
        self.window: list[dict[str, float]] = []
        self.psnr: list[float] = []
        self.saved: dict[str, list[dict[str, float]]] = {}
        if self.writes:
            self._go_on_from(step)

    def _go_on_from(self, step: int) -> None:
        """Forgets lines after `step`, the run's last checkpoint, and takes up the window that was open there."""
        if self.lines.exists():
            kept = [s for s in self.lines.read_text().splitlines(True) if s.endswith("\n") and _step_of(s) <= step]
            write_whole(self.lines, "".join(kept))
        if self.open_windows.exists():
            self.saved = {k: v for k, v in json.loads(self.open_windows.read_text()).items() if int(k) <= step}
            self.window = list(self.saved.get(str(step), []))

    def add(self, rate: str, metrics: Metrics) -> None:
        """Takes the metrics of a step that has ended, on the host."""
        values = {name: float(metrics[name]) for name in MEANS}
        values |= {name: float(v) for name, v in metrics.items() if name.startswith(BY_STAGE)}
        psnr = metrics["psnr"]
        values["psnr/key"] = float(psnr[0])
        if len(psnr) > 1:
            if rate in self.config.quality.prices:
                values |= {f"{name}/{rate}": float(metrics[name]) for name in ("spent_bpp", "sent")}
            values[f"psnr/{rate}"] = float(psnr[1:].mean())
            values |= {f"psnr_at/{rate}_{t}": float(p) for t, p in enumerate(psnr) if t}
        self.window.append(values)
        self.psnr.append(float(psnr.mean()))
        self.clock.steps += 1

    def write(self, step: int, state: TrainState) -> None:
        """Ends a window: means of it, usage and perplexity of every codebook, and the bits a pixel they allow."""
        names = sorted({name for values in self.window for name in values})
        values = {name: float(np.mean([v[name] for v in self.window if name in v])) for name in names}
        values["skipped_steps"] = float(sum(v["skipped"] for v in self.window))
        for kind, stages in jax.device_get(state.averages).items():
            rate_bpp = 0.0
            for s, average in enumerate(stages):
                if np.any(average.count):
                    usage, perplexity = usage_and_perplexity(average.count)
                    values[f"usage/{kind}_{s + 1}"] = float(jnp.mean(usage))
                    values[f"perplexity/{kind}_{s + 1}"] = float(jnp.mean(perplexity))
                    rate_bpp += float(jnp.sum(jnp.log2(perplexity))) / STAGE_STRIDES[s] ** 2
            if rate_bpp:
                values[f"bpp/{kind}"] = rate_bpp
        alarms = collapsed(values, self.config.codebook.alarm_below)
        values["alarms"] = float(len(alarms))
        for name in alarms:
            logging.error("step %d: codebook %s has collapsed: nearly all latents take the same codewords", step, name)
        if self.writes:
            with self.lines.open("a") as file:
                file.write(json.dumps({"step": step, **values}) + "\n")
        timing = self.clock.report()
        self.writer.write_scalars(step, values | timing)
        self.writer.flush()
        logging.info("step %d %s", step, json.dumps({k: round(v, 4) for k, v in (values | timing).items()}))
        self.window = []

    def write_images(self, step: int, pairs: np.ndarray) -> None:
        """Frames above their reconstructions, uint8 [n, 2 h, w, 3]."""
        self.writer.write_images(step, {"frame_and_reconstruction": pairs})

    def score(self) -> float | None:
        """Mean PSNR since the last call, in dB: what the best checkpoint is chosen by."""
        mean = float(np.mean(self.psnr)) if self.psnr else None
        self.psnr = []
        return mean

    def keep_window(self, step: int) -> None:
        """Writes the open window down before a checkpoint of `step`, so that a run that goes on from it ends alike."""
        self.saved[str(step)] = list(self.window)
        self.saved = dict(sorted(self.saved.items(), key=lambda item: int(item[0]))[-KEPT_WINDOWS:])
        if self.writes:
            write_whole(self.open_windows, json.dumps(self.saved))

    def close(self) -> None:
        self.writer.close()


def collapsed(values: dict[str, float], below: float) -> list[str]:
    """Codebooks whose perplexity within a batch is under the share `below` of what the batch could give."""
    prefix = "batch_perplexity/"
    return [k.removeprefix(prefix) for k, v in values.items() if k.startswith(prefix) and 0.0 < v < below]


def _step_of(line: str) -> int:
    return json.loads(line)["step"]
