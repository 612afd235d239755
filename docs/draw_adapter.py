"""Draw docs/adapter.svg: where an adapter sits in a transformer layer, and how its two projections are factorised.

  python docs/draw_adapter.py [FILE.svg]

Plain SVG from the standard library. It writes the same bytes every time, so the picture changes only with this file.
"""

import sys
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 860, 500
FROZEN, TRAINED, INK, EDGE = "#e6e9ee", "#cfe8d5", "#1f2933", "#7b8794"
STYLE = "font-family:'DejaVu Sans',Helvetica,Arial,sans-serif"


def box(x: float, y: float, width: float, height: float, text: str, fill: str) -> str:
    """A rounded box with its text in the middle."""
    outline = f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="6" fill="{fill}" stroke="{EDGE}"/>'
    return outline + label(x + width / 2, y + height / 2 + 5, text)


def label(x: float, y: float, text: str, size: int = 14, anchor: str = "middle", weight: str = "normal") -> str:
    attributes = f'x="{x}" y="{y}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{INK}"'
    return f"<text {attributes}>{escape(text)}</text>"


def line(*points: tuple[float, float], arrow: bool = True, dashed: bool = False) -> str:
    path = " ".join(f"{x},{y}" for x, y in points)
    end = ' marker-end="url(#arrow)"' if arrow else ""
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<polyline points="{path}" fill="none" stroke="{INK}" stroke-width="1.4"{end}{dash}/>'


def plus(x: float, y: float) -> str:
    circle = f'<circle cx="{x}" cy="{y}" r="11" fill="white" stroke="{INK}"/>'
    return circle + label(x, y + 6, "+", 18)


def layer() -> list[str]:
    """One transformer layer, read from the bottom: two sublayers, each with an adapter before its residual sum."""
    x, width = 70, 190
    middle, skip = x + width / 2, 30
    parts = [label(middle, 26, "one transformer layer", 15, weight="bold"), line((middle, 478), (middle, 454))]
    for bottom, sublayer in ((454, "self-attention"), (244, "feed-forward")):
        parts += [
            box(x, bottom - 36, width, 36, sublayer, FROZEN),
            line((middle, bottom - 36), (middle, bottom - 56)),
            box(x, bottom - 92, width, 36, "adapter", TRAINED),
            line((middle, bottom - 92), (middle, bottom - 109)),
            plus(middle, bottom - 120),
            line((middle, bottom + 12), (skip, bottom + 12), (skip, bottom - 120), (middle - 12, bottom - 120)),
            line((middle, bottom - 131), (middle, bottom - 146)),
            box(x, bottom - 178, width, 32, "LayerNorm", TRAINED),
            line((middle, bottom - 178), (middle, bottom - 202 if bottom == 244 else bottom - 210)),
        ]
    return parts


def adapter() -> list[str]:
    """The inside of an adapter: h + up(relu(down(h)))."""
    left, width = 350, 150
    middle, skip = left + width / 2, left - 24
    parts = [label(middle, 26, "the adapter", 15, weight="bold")]
    steps = [(384, "down  d → m", TRAINED), (300, "ReLU", "white"), (216, "up  m → d", TRAINED)]
    parts += [label(middle, 466, "h"), line((middle, 450), (middle, 420))]
    for y, text, fill in steps:
        parts += [box(left, y, width, 36, text, fill), line((middle, y), (middle, y - 48 if y > 216 else y - 40))]
    parts += [plus(middle, 165), line((middle, 154), (middle, 124)), label(middle, 112, "h + up(ReLU(down(h)))")]
    parts += [line((middle, 438), (skip, 438), (skip, 165), (middle - 12, 165))]
    for start, end in ((366, 60), (394, 478)):  # from the adapter's box in the layer to its inside
        parts.append(line((260, start), (skip - 8, end), arrow=False, dashed=True))
    return parts


def formats() -> list[str]:
    """The four formats of a projection, for a 768 x 64 matrix that is seen as a 24 x 32 x 64 tensor."""
    left = 560
    parts = [label(left + 145, 26, "a projection, factorised", 15, weight="bold")]
    parts += [label(left + 145, 58, "W (768 × 64) = gain × a 24 × 32 × 64 tensor", 12)]
    rows = [
        ("CP", "a sum of rank-1 terms", ["24×r", "32×r", "64×r"], "none"),
        ("Tucker", "a core and one factor a mode", ["24×r", "32×r", "64×r"], "core"),
        ("Tensor-Train", "a chain of cores", ["24×r", "r×32×r", "r×64"], "chain"),
        ("Tensor-Ring", "a chain that is closed", ["r×24×r", "r×32×r", "r×64×r"], "ring"),
    ]
    for number, (name, text, factors, joined) in enumerate(rows):
        top, size = 100 + 96 * number, 84
        xs = [left + (size + 19) * column for column in range(3)]
        parts.append(label(left, top - 8, name, 13, "start", "bold") + label(left + 290, top - 8, text, 12, "end"))
        if joined in ("chain", "ring"):
            parts += [line((x + size, top + 16), (x + size + 19, top + 16), arrow=False) for x in xs[:2]]
        if joined == "ring":
            ends = (xs[0] + 42, top + 32), (xs[0] + 42, top + 44), (xs[2] + 42, top + 44), (xs[2] + 42, top + 32)
            parts.append(line(*ends, arrow=False))
        if joined == "core":
            parts += [line((x + 42, top + 32), (x + 42, top + 42), arrow=False) for x in xs]
            parts.append(box(xs[0], top + 42, xs[2] + size - xs[0], 20, "core r × r × r", TRAINED))
        parts += [box(x, top, size, 32, text, TRAINED) for x, text in zip(xs, factors)]
    return parts


def legend() -> list[str]:
    parts = []
    for x, text, fill in ((560, "frozen", FROZEN), (660, "trained (with the head)", TRAINED)):
        parts.append(f'<rect x="{x}" y="470" width="16" height="16" rx="3" fill="{fill}" stroke="{EDGE}"/>')
        parts.append(label(x + 23, 483, text, 12, "start"))
    return parts


def picture() -> str:
    """The SVG as text."""
    arrow = '<marker id="arrow" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" style="{STYLE}">'
    title = "<title>An adapter behind each sublayer of a transformer layer, its projections factorised</title>"
    definitions = f'<defs>{arrow}<path d="M0,0 L10,5 L0,10 z" fill="{INK}"/></marker></defs>'
    background = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    shapes = [head, title, definitions, background, *layer(), *adapter(), *formats(), *legend(), "</svg>"]
    return "\n".join(shapes) + "\n"


if __name__ == "__main__":
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("adapter.svg")
    path.write_text(picture(), encoding="utf-8")
