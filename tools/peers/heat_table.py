"""Ratios as a picture: a line for each suite, direction, burst, pool and number of sessions, a cell with a bar for each size."""

from xml.etree import ElementTree

ROW, CELL, LEFT, TOP = 16, 62, 330, 34
MOST = 4.0
TEXT = {"font-family": "sans-serif", "font-size": "11"}


def text(svg, x, y, words):
    """Words at a place."""
    ElementTree.SubElement(svg, "text", x=str(x), y=str(y), **TEXT).text = words


def bar(svg, left, top, ratio):
    """A bar as long as the ratio, with a line where both are equal."""
    colour = "#7cbf7c" if ratio >= 1 else "#e08a78"
    width = f"{min(ratio, MOST) / MOST * (CELL - 4):.1f}"
    ElementTree.SubElement(svg, "rect", x=str(left), y=str(top + 1), width=width, height=str(ROW - 2), fill=colour)
    one = f"{left + (CELL - 4) / MOST:.1f}"
    ElementTree.SubElement(svg, "line", x1=one, x2=one, y1=str(top), y2=str(top + ROW), stroke="#555")
    text(svg, left + 22, top + 12, f"{ratio:.2f}")


def picture(rows, path):
    """Writes an SVG of rows with suite, direction, burst, pool, sessions, size and ratio."""
    sizes = sorted({row["size"] for row in rows}, key=lambda size: (size == "imix", str(size).zfill(9)))
    lines = {}
    for row in rows:
        name = f"{row['suite']} {row['direction']}, burst {row['burst']}, {row['pool']}, sessions {row['sessions']}"
        lines.setdefault(name, {})[row["size"]] = row["ratio"]
    width, height = LEFT + CELL * len(sizes), TOP + ROW * len(lines) + 8
    svg = ElementTree.Element("svg", xmlns="http://www.w3.org/2000/svg", width=str(width), height=str(height))
    ElementTree.SubElement(svg, "rect", width="100%", height="100%", fill="#fff")
    text(svg, 4, 14, "how many times the cycles of Sealane DPDK takes; the line in a cell is at 1")
    for column, size in enumerate(sizes):
        text(svg, LEFT + CELL * column + 4, TOP - 4, f"{size}" if size == "imix" else f"{size} B")
    for number, (name, ratios) in enumerate(lines.items()):
        text(svg, 4, TOP + ROW * number + 12, name)
        for column, size in enumerate(sizes):
            if size in ratios:
                bar(svg, LEFT + CELL * column, TOP + ROW * number, ratios[size])
    ElementTree.ElementTree(svg).write(path)
