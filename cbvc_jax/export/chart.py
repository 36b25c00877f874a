"""Lines over numbers as one SVG: what the reports draw."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, MARGIN = 760, 360, 62
KEYS_A_ROW, KEY_WIDTH, KEY_HEIGHT = 4, 165, 15
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#999999", "#dd7733", "#117733")
DASHES = ("", "6 3", "2 2")
STYLE = "svg text{fill:currentColor;font:12px system-ui,sans-serif}"


def line_chart(
    lines: Mapping[str, Sequence[tuple[float, float]]],
    x_label: str,
    y_label: str,
    *,
    floor: float | None = None,
    marked: bool = False,
) -> str:
    """An SVG of lines by name through points (x, y); with a `floor`, y is logarithmic and no less than that.

    `marked` draws the points, too. Without any points it is a paragraph that says so.
    """
    points = [p for line in lines.values() for p in line]
    if not points:
        return "<p>Nothing to compare.</p>"
    ys = [y if floor is None else math.log10(max(y, floor)) for _, y in points]
    ticks = _decades(ys) if floor is not None else _steps(min(ys), max(ys))
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    top = MARGIN + KEY_HEIGHT * ((len(lines) - 1) // KEYS_A_ROW)
    low, high = ticks[0], ticks[-1]

    def height_of(tick: float) -> float:
        return HEIGHT - MARGIN - (HEIGHT - MARGIN - top) * (tick - low) / (high - low)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) if right > left else 0.5
        return MARGIN + (WIDTH - 2 * MARGIN) * across, height_of(y if floor is None else math.log10(max(y, floor)))

    parts = []
    for tick in ticks:
        y = height_of(tick)
        parts.append(f'<path d="M{MARGIN} {y:.1f}H{WIDTH - MARGIN}" stroke="#8886"/>')
        shown = f"1e{tick:g}" if floor is not None else f"{tick:.4g}"
        parts.append(f'<text x="{MARGIN - 6}" y="{y + 4:.1f}" text-anchor="end">{shown}</text>')
    for x in (x for x in _steps(left, right) if left <= x <= right):
        at = place(x, 1.0)[0]
        parts.append(f'<text x="{at:.1f}" y="{HEIGHT - MARGIN + 18}" text-anchor="middle">{x:.4g}</text>')
    for i, (name, line) in enumerate(lines.items()):
        colour, dash = COLOURS[i % len(COLOURS)], DASHES[i // len(COLOURS) % len(DASHES)]
        places = [place(*p) for p in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<g stroke="{colour}" fill="none"><title>{html.escape(name)}</title>')
        parts.append(f'<polyline stroke-width="2" stroke-dasharray="{dash}" points="{path}"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in places] if marked else []
        row, column = divmod(i, KEYS_A_ROW)
        key = f'x="{MARGIN + KEY_WIDTH * column}" y="{30 + KEY_HEIGHT * row}"'
        parts.append(f'</g><text {key} style="fill:{colour}">{html.escape(name)}</text>')
    parts.append(f'<text x="{MARGIN}" y="14">{html.escape(y_label)}</text>')
    parts.append(f'<text x="{WIDTH / 2}" y="{HEIGHT - 14}" text-anchor="middle">{html.escape(x_label)}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" role="img" '
        f'aria-label="{html.escape(y_label)}"><style>{STYLE}</style>{"".join(parts)}</svg>\n'
    )


def _decades(logarithms: Sequence[float]) -> list[float]:
    low, high = math.floor(min(logarithms)), math.ceil(max(logarithms))
    return [float(d) for d in range(low, max(high, low + 1) + 1)]


def _steps(low: float, high: float) -> list[float]:
    """Round numbers from below `low` to above `high`, five or so."""
    if high <= low:
        low, high = low - 0.5, high + 0.5
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(m for m in (1, 2, 5, 10) if (high - low) / (m * step) <= 6)
    return [k * step for k in range(math.floor(low / step), math.ceil(high / step) + 1)]
