"""What a chart of ours must keep, whatever it shows."""

from __future__ import annotations

from xml.etree import ElementTree as ET

SVG = "{http://www.w3.org/2000/svg}"
#: A character is at most so wide, on average: by the class of a text, and of the others.
WIDTHS = {"title": 8.7, "axis": 8.7, "note": 7.6}
WIDTH = 8.2


def points(line: ET.Element) -> list[tuple[float, float]]:
    """The points of a `polyline`."""
    pairs = (point.split(",") for point in line.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def texts(picture: ET.Element) -> list[str]:
    """Every text of a picture, in its order."""
    return [text.text or "" for text in picture.iter(f"{SVG}text")]


def what_leaves_it(picture: ET.Element) -> list[str]:
    """Every text, line and bar of a picture that is partly outside of it."""
    width, height = (float(picture.attrib[side]) for side in ("width", "height"))

    def is_outside(corners: list[tuple[float, float]]) -> bool:
        return not all(0 <= x <= width and 0 <= y <= height for x, y in corners)

    corners = [(line, points(line)) for line in picture.iter(f"{SVG}polyline")]
    for kind, sides in (
        ("line", ("x1", "y1", "x2", "y2")),
        ("rect", ("x", "y", "width", "height")),
    ):
        for each in picture.iter(f"{SVG}{kind}"):
            a, b, c, d = (float(each.get(side, 0)) for side in sides)
            corners.append((each, [(a, b), (c, d) if kind == "line" else (a + c, b + d)]))
    outside = [each.attrib["class"] for each, every in corners if is_outside(every)]
    for text in picture.iter(f"{SVG}text"):
        length = WIDTHS.get(text.get("class", ""), WIDTH) * len(text.text or "")
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        left = x - {"start": 0.0, "middle": 0.5, "end": 1.0}[text.attrib["text-anchor"]] * length
        if is_outside([(left, y), (left + length, y)]):
            outside.append(text.text or "")
    return outside
