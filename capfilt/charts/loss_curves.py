"""Loss curves as a picture that any browser shows: plain SVG, no library."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

COLOURS: Final = ("#4269d0", "#ff725c", "#3ca951", "#a463f2", "#9c6b4e")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP = 720, 320, 48, 28, 28
RIGHT = 12

Points = Sequence[tuple[float, float]]


def draw_curves(curves: Mapping[str, Points]) -> str:
    """An SVG of some curves over the same axis, a colour each, with their last values."""
    drawn = {name: points for name, points in curves.items() if points}
    end = max((points[-1][0] for points in drawn.values()), default=1)
    most = max((value for points in drawn.values() for _, value in points), default=1.0) or 1.0
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        *_axes(end, most),
    ]
    for number, (name, points) in enumerate(drawn.items()):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(f"{_x(step, end):.1f},{_y(value, most):.1f}" for step, value in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="1.5"/>')
        label = f"{escape(name)} {points[-1][1]:.3f}"
        parts.append(f'<text x="{LEFT + 110 * number}" y="16" fill="{colour}">{label}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes(end: float, most: float) -> list[str]:
    parts = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = _x(end * share, end), _y(most * share, most)
        parts += [
            f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>',
            f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end" fill="#666">{most * share:.2g}</text>',
            f'<text x="{x:.1f}" y="{HEIGHT - 8}" text-anchor="middle" fill="#666">{end * share:.0f}</text>',
        ]
    return parts


def _x(step: float, end: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * step / end


def _y(value: float, most: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * value / most
