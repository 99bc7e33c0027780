"""Draws the start page's diagram, from image to verdict, for light and for dark ground: python book/whole.py"""

from __future__ import annotations

from html import escape
from pathlib import Path

IMAGES = Path(__file__).parent / "images"
LEARN, JUDGE = ("#0072b2", "#56b4e9"), ("#b34700", "#e69f00")
INK, BOX = ("#222222", "#e8eaed"), ("#f3f4f5", "#22272e")
WIDTH, HEIGHT, WIDE, TALL = 930, 250, 150, 74
COLUMNS = (10, 200, 390, 580, 770)
ROWS = {"learn": 40, "judge": 160}
BOXES = {
    "learn": ("good images", "network", "vectors", "mean, covariance", "threshold"),
    "judge": ("a new image", "the same network", "vectors", "distance, blurred", "score above it?"),
}
BELOW = {
    "learn": ("thirty or more", "trained on ImageNet", "one for each place", "at each place", "from good images alone"),
    "judge": ("one part", "nothing is trained", "one for each place", "the anomaly map", "stopped, or passes"),
}


def drawn(dark: bool) -> str:
    """The diagram as SVG."""
    ink, box = INK[dark], BOX[dark]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" role="img">',
        "<title>From image to verdict</title>",
    ]
    for row, top in ROWS.items():
        color = {"learn": LEARN, "judge": JUDGE}[row][dark]
        parts.append(f'<text x="10" y="{top - 12}" font-size="15" font-weight="bold" fill="{color}">{row}</text>')
        for number, (left, title, below) in enumerate(zip(COLUMNS, BOXES[row], BELOW[row], strict=True)):
            middle = left + WIDE / 2
            centered = f'x="{middle}" text-anchor="middle" fill="{ink}"'
            parts += [
                f'<rect x="{left}" y="{top}" width="{WIDE}" height="{TALL}" rx="8" fill="{box}" stroke="{color}" '
                'stroke-width="2"/>',
                f'<text {centered} y="{top + 32}" font-size="14" font-weight="bold">{escape(title)}</text>',
                f'<text {centered} y="{top + 54}" font-size="12.5">{escape(below)}</text>',
            ]
            if number:
                parts.append(arrow(COLUMNS[number - 1] + WIDE, top + TALL / 2, left, top + TALL / 2, color))
    for left in COLUMNS[3:]:  # what was learned is used below
        parts.append(arrow(left + WIDE / 2, ROWS["learn"] + TALL, left + WIDE / 2, ROWS["judge"], LEARN[dark]))
    return "\n".join([*parts, "</svg>\n"])


def arrow(x0: float, y0: float, x1: float, y1: float, color: str) -> str:
    """A line with a head at its end, along one of the axes."""
    dx, dy = (x1 > x0) - (x1 < x0), (y1 > y0) - (y1 < y0)
    tip, base = (x1 - 2 * dx, y1 - 2 * dy), (x1 - 10 * dx, y1 - 10 * dy)
    head = " ".join(
        f"{x},{y}" for x, y in (tip, (base[0] - 5 * dy, base[1] - 5 * dx), (base[0] + 5 * dy, base[1] + 5 * dx))
    )
    line = f'<line x1="{x0}" y1="{y0}" x2="{base[0]}" y2="{base[1]}" stroke="{color}" stroke-width="2"/>'
    return f'{line}<polygon points="{head}" fill="{color}"/>'


if __name__ == "__main__":
    for dark in (False, True):
        (IMAGES / f"whole-{'dark' if dark else 'light'}.svg").write_text(drawn(dark), encoding="utf-8")
