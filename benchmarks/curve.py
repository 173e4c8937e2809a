"""A line chart as SVG, for benchmarks that end in a curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

__all__ = ["draw"]

WIDTH, HEIGHT, MARGIN = 640, 360, 60
COLOURS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b")


def draw(lines: Mapping[str, Sequence[tuple[float, float]]], *, x: str, y: str) -> str:
    """Lines of (x, y) points under their names; both axes begin at 0."""
    points = [point for line in lines.values() for point in line]
    most_x = max((point[0] for point in points), default=1.0) or 1.0
    most_y = max((point[1] for point in points), default=1.0) or 1.0

    def place(point: tuple[float, float]) -> tuple[float, float]:
        across = MARGIN + point[0] / most_x * (WIDTH - 2 * MARGIN)
        return across, HEIGHT - MARGIN - point[1] / most_y * (HEIGHT - 2 * MARGIN)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">{x}</text>',
        f'<text x="14" y="{HEIGHT / 2}" text-anchor="middle" transform="rotate(-90 14 {HEIGHT / 2})">{y}</text>',
    ]
    for step in range(5):
        left, low = place((most_x * step / 4, 0.0))
        _, high = place((0.0, most_y * step / 4))
        parts += [
            f'<line x1="{MARGIN}" y1="{high:.1f}" x2="{WIDTH - MARGIN}" y2="{high:.1f}" stroke="#ddd"/>',
            f'<text x="{MARGIN - 6}" y="{high + 4:.1f}" text-anchor="end">{most_y * step / 4:.4g}</text>',
            f'<text x="{left:.1f}" y="{low + 18:.1f}" text-anchor="middle">{most_x * step / 4:.4g}</text>',
        ]
    for number, (name, line) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in map(place, line))
        parts += [
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>',
            f'<text x="{MARGIN + 10}" y="{MARGIN + 16 * number}" fill="{colour}">{name}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
