"""The picture in the README: the Airflow UI with the mapped DAG, taken by headless Chromium."""

from __future__ import annotations

import shutil
import subprocess
import tempfile

from demo import dag_folder, paths
from demo.embedded_aws import bare_environment
from demo.local import State
from demo.runs import RUN_ID, Api
from demo.screen import Screen

FILE = paths.ROOT / "docs" / "images" / "airflow-mapped.png"
SIZE = "1400,900"
RUN_TIMEOUT_S = 300.0
BROWSER_TIMEOUT_S = 120.0
#: The page draws itself from a dozen requests: milliseconds of virtual time for them.
DRAW_MS = 20000


class PictureError(Exception):
    """There is nothing to take a picture of, or with."""


def take(screen: Screen, home: paths.Home) -> int:
    """Wait for the mapped DAG's run to end and photograph it.

    Raises:
        PictureError: `up` did not run, or there is no Chromium.
        RunsError: The run did not end.
    """
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    if browser is None:
        raise PictureError("a picture needs Chromium: `apt-get install chromium`, say")
    state = State.read(home.state)
    if state is None or state.url is None or not state.alive():
        raise PictureError("nothing is up: `make local` first")
    with screen.phase("Waiting for the DAG runs to end") as phase, Api(state.url) as api:
        api.wait(RUN_TIMEOUT_S, lambda progress: phase.detail(str(progress)))
    (dag_id,) = dag_folder.MAPPED.dag_ids
    FILE.parent.mkdir(parents=True, exist_ok=True)
    page = f"{state.url}/dags/{dag_id}/runs/{RUN_ID}"
    with screen.phase("Taking the picture"), tempfile.TemporaryDirectory() as profile:
        _photograph(browser, page, profile)
    screen.say(f"{FILE.relative_to(paths.ROOT)}: {FILE.stat().st_size // 1024} KiB")
    return 0


def _photograph(browser: str, page: str, profile: str) -> None:
    FILE.unlink(missing_ok=True)
    command = [
        browser,
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--hide-scrollbars", f"--window-size={SIZE}", f"--virtual-time-budget={DRAW_MS}"),
        *(f"--user-data-dir={profile}", f"--screenshot={FILE}", page),
    ]
    try:
        done = subprocess.run(
            command,
            env=bare_environment() | {"NO_PROXY": "*"},
            timeout=BROWSER_TIMEOUT_S,
            capture_output=True,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired as e:
        raise PictureError(f"{browser} took longer than {e.timeout:.0f} s") from e
    if not FILE.exists():
        raise PictureError(f"{browser} took no picture:\n{done.stderr[-2000:]}")
