"""The demo's report in a real browser: the keyboard, the filter, the zoom, and narrow windows."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from demo.outcome.report.page import Course, page
from demo.outcome.tries import join
from tests.support.html_page import Page
from tests.support.tries import KEY, invocation, ran

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), "")
pytestmark = [
    pytest.mark.skipif(
        not CHROMIUM and os.environ.get("CI") != "true", reason="there is no chromium"
    ),
    pytest.mark.timeout(120),
]

#: Does what a person does, and leaves what is seen then as the page's title.
PERSON = """<script>
const seen = { tabbable: bars.filter((bar) => bar.tabIndex === 0).length };
const press = (key) => {
  document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  // Chromium sends it only to a window that has the focus, which this one may not have.
  document.activeElement.dispatchEvent(new FocusEvent("focus"));
  return document.activeElement.getAttribute("aria-label").split(", ")[1];
};
document.querySelector("a.bar[tabindex='0']").focus();
seen.keys = ["ArrowRight", "End", "ArrowDown", "ArrowUp", "Home"].map(press);
seen.details = details.textContent;
seen.width = document.documentElement.scrollWidth - window.innerWidth;
form.elements.dag.value = "other";
form.elements.dag.dispatchEvent(new Event("change"));
seen.rows = [...document.querySelectorAll("tr[data-try]")].filter((row) => !row.hidden).length;
seen.bars = shown().length;
const before = document.querySelector(".timeline").offsetWidth;
form.elements.zoom.value = 4;
form.elements.zoom.dispatchEvent(new Event("input"));
seen.zoomed = document.querySelector(".timeline").offsetWidth / before;
document.title = JSON.stringify(seen);
</script></body>"""


def looked_at(tmp_path: Path, width: int) -> Any:
    """What a person sees who uses the report in a window of this width."""
    keys = [replace(KEY, task_id=name) for name in ("a", "b", "c")]
    other = replace(KEY, dag_id="other", task_id="d")
    rows = join(
        [ran(key) for key in (*keys, other)],
        [
            *(invocation(key, started_at_s=100.0 + n) for n, key in enumerate(keys)),
            invocation(other, environment="another", started_at_s=102.0),
        ],
    )
    course = Course("make demo", "today", {}, [], ["a line of the summary"], [])
    file = tmp_path / "report.html"
    file.write_text(page(rows, course).replace("</body>", PERSON), encoding="utf-8")
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    options.append("--disable-background-networking")
    places = [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},800"]
    shown = subprocess.run(
        [CHROMIUM, *options, *places, "--dump-dom", file.as_uri()],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        check=True,
    )
    return json.loads(Page(shown.stdout).all("title")[0].text)


def test_the_keyboard_reaches_every_bar(tmp_path: Path) -> None:
    """Tab goes to one bar, and the arrow keys from there; what a bar shows is told in words."""
    seen = looked_at(tmp_path, 1280)
    assert seen["tabbable"] == 1
    assert seen["keys"] == ["b", "c", "d", "c", "a"]
    assert seen["details"].startswith("dag, a, try 1: success · warm · wait 20 ms · run 50 ms")


def test_one_dag_may_be_shown_alone(tmp_path: Path) -> None:
    """Its lines of the table, and its bars."""
    seen = looked_at(tmp_path, 1280)
    assert (seen["rows"], seen["bars"]) == (1, 1)
    assert seen["zoomed"] > 3


def test_a_narrow_window_does_not_scroll_sideways(tmp_path: Path) -> None:
    """Only the timeline and the table do, each for itself. A phone's page is as wide as this."""
    assert looked_at(tmp_path, 500)["width"] <= 0
