"""What a chart of ours must keep, whatever it shows."""

from __future__ import annotations

from xml.etree import ElementTree as ET

SVG = "{http://www.w3.org/2000/svg}"
#: A character of the largest font of a chart, on average, at most.
CHARACTER = 8.7


def points(line: ET.Element) -> list[tuple[float, float]]:
    """The points of a `polyline`."""
    pairs = (point.split(",") for point in line.attrib["points"].split())
    return [(float(x), float(y)) for x, y in pairs]


def what_leaves_it(picture: ET.Element) -> list[str]:
    """Every text and every line of a picture that is partly outside of it."""
    width, height = (float(picture.attrib[side]) for side in ("width", "height"))
    outside = [
        line.attrib["class"]
        for line in picture.iter(f"{SVG}polyline")
        if not all(0 < x < width and 0 < y < height for x, y in points(line))
    ]
    for text in picture.iter(f"{SVG}text"):
        length = CHARACTER * len(text.text or "")
        x, y = float(text.attrib["x"]), float(text.attrib["y"])
        before = {"start": 0.0, "middle": 0.5, "end": 1.0}[text.attrib["text-anchor"]]
        left = x - before * length
        if left < 0 or left + length > width or not 0 < y < height:
            outside.append(text.text or "")
    return outside
