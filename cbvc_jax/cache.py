"""Compiled programs on disk, so that start-up is paid once."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs


def cache_folder() -> Path:
    """Where cbvc_jax keeps what can be made again: $CBVC_CACHE, or the user's cache folder."""
    return Path(os.environ.get("CBVC_CACHE") or platformdirs.user_cache_path("cbvc_jax"))


def use_compilation_cache() -> None:
    """Turns JAX's persistent compilation cache on; a folder that cannot be written to only costs the time."""
    import jax

    jax.config.update("jax_compilation_cache_dir", str(cache_folder() / "compiled"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
    jax.config.update("jax_raise_persistent_cache_errors", False)
