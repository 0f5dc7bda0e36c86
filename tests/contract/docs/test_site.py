"""The documentation site builds strictly, needs no network, and its search finds real errors."""

from __future__ import annotations

import json
import os
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from docs_site.messages import messages
from tests.unit.docs.test_links import ROOT

PYTHON = ROOT / "build/venv/docs/bin/python"
SEARCH = Path(__file__).with_name("search_site.mjs")

#: Errors as a person sees them, with where the search has to lead.
ERRORS = {
    "no target serves the queue 'gpu'; known queues: 'default', 'long'. Set the task's queue to "
    "one of them, or add it to [lambda_executor] functions or targets": (
        "troubleshooting/dag-files.html#no-target-serves-the-queue"
    ),
    "[lambda_executor] queue_urls is 'results'": (
        "troubleshooting/options.html#an-option-has-an-unusable-value"
    ),
    "config_parameter: SSM parameter '/airflow-lambda/dev/executor' does not exist in Region "
    "us-west-2 (https://ssm.us-west-2.amazonaws.com)": (
        "troubleshooting/options.html#the-ssm-parameter-cannot-be-read"
    ),
    "Lambda repeats a failed invocation up to 2 times, and so starts a task again that Airflow may "
    "have retried already": (
        "troubleshooting/doctor.html"
        "#rows-async-retries-event-age-dead-letters-somebody-changed-the-function"
    ),
    "AIRFLOW__LAMBDA_EXECUTOR__FUNKTION_NAME is ignored: there is no such option": (
        "troubleshooting/options.html#an-option-is-unknown-and-ignored"
    ),
    "the DAG file only_here.py is not in the function's image: build the image with the same DAGs "
    "that the DAG processor reads": (
        "troubleshooting/tasks.html#the-dag-file-is-not-where-the-task-runs"
    ),
    "not started: the workload's token ran out 12 s ago, after it had waited for 612 s to be "
    "started. Give the function more concurrency, or raise [scheduler] task_queued_timeout": (
        "troubleshooting/tasks.html#the-function-was-never-started-or-its-token-ran-out"
    ),
    "the workload's process was killed by the kernel: it needed more than the function's memory of "
    "1769 MB": "troubleshooting/tasks.html#the-task-needed-more-memory",
    "Lambda cannot be reached (check DNS, the route, the proxy and the certificates between the "
    "scheduler and this endpoint): nothing is sent, 12 invocations wait, next try in 8.0 s": (
        "troubleshooting/scheduler-log.html#nothing-is-sent"
    ),
    "control_plane.schedulers is 2 and execution.results_queues is 1, allowed is a queue for each: "
    "raise results_queues or lower schedulers": (
        "troubleshooting/deploy.html#the-configuration-of-the-stage-cannot-work"
    ),
}


def mkdocs(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Build a site as `make site` does: without --quiet, with which strict mode sees no warning."""
    assert PYTHON.exists(), "make build/venv/docs/.stamp installs what the site needs"
    return subprocess.run(
        [PYTHON, "-m", "mkdocs", "build", "--strict", *arguments],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the built site."""
    folder = tmp_path_factory.mktemp("site")
    built = mkdocs("--site-dir", str(folder))
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


class Loaded(HTMLParser):
    """Collects what a browser loads to show a page, and where its links lead."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take the addresses of one element."""
        of = dict(attrs)
        if tag == "a" and of.get("href"):
            self.links.append(of["href"] or "")
        elif tag == "link" and of.get("rel") not in {"canonical", "prev", "next"}:
            self.loaded.append(of.get("href") or "")
        elif of.get("src"):
            self.loaded.append(of["src"] or "")


def read(page: Path) -> Loaded:
    """Return the addresses of a page."""
    parser = Loaded()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def test_no_page_loads_anything_from_the_network(site: Path) -> None:
    """Neither fonts nor scripts, styles or pictures: it can be read behind any wall."""
    found = read(site / "index.html")
    assert "assets/javascripts/iframe-worker.js" in found.loaded
    pages = [page for page in site.rglob("*.html") if page.name != "404.html"]
    assert len(pages) > 100
    for page in pages:
        for address in read(page).loaded:
            assert not re.match(r"(\w+:)?//", address), f"{page}: {address}"
            assert (page.parent / address.partition("?")[0]).exists(), f"{page}: {address}"
        # With it, the theme's script asks GitHub for the number of stars.
        assert 'data-md-component="source"' not in page.read_text(encoding="utf-8")


def test_a_link_to_a_source_file_leads_to_the_repository(site: Path) -> None:
    """And to the line of the test that it names."""
    promises = read(site / "reference" / "promises.html").links
    to_tests = [link for link in promises if "/blob/main/tests/" in link]
    assert len(to_tests) > 50
    assert any(re.search(r"\.py#L\d+$", link) for link in to_tests)
    assert not [link for link in promises if "#test_" in link]


def test_a_link_to_a_page_stays_on_the_site(site: Path) -> None:
    """From a page that was added from outside `docs/`, too."""
    links = read(site / "changelog.html").links
    assert "howto/several-executors.html" in links
    assert "../decisions/index.html" in read(site / "reference" / "wire.html").links


def test_a_broken_link_fails_the_build(tmp_path: Path) -> None:
    """Between pages, and to a heading of a page; without them the same site builds."""
    docs = tmp_path / "docs"
    docs.mkdir()
    config = tmp_path / "mkdocs.yml"
    config.write_text(
        f"INHERIT: {ROOT / 'mkdocs.yml'}\ndocs_dir: docs\nsite_dir: site\nhooks: []\n"
        "nav: [index.md]\nextra: {polyfills: []}\n"
    )
    for link, is_broken in (("#here", False), ("gone.md", True), ("#gone", True)):
        (docs / "index.md").write_text(f"# Here\n\n[a link]({link})\n")
        built = mkdocs("--config-file", str(config))
        assert bool(built.returncode) is is_broken, (link, built.stdout, built.stderr)


def test_the_errors_that_are_searched_are_those_of_the_product() -> None:
    """Each is made by one of its texts, with values in the places of the names."""
    templates = [re.escape(message.text) for message in messages()]
    patterns = [re.sub(r"<[^<>]*>", ".*", template) for template in templates]
    for error in ERRORS:
        assert any(re.search(pattern, error) for pattern in patterns), error


def test_the_search_finds_the_entry_of_a_real_error(site: Path) -> None:
    """Whoever pastes an error's whole text sees its entry high on one of the first three pages."""
    asked = subprocess.run(
        ["node", SEARCH, site],
        input=json.dumps(list(ERRORS)),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert asked.returncode == 0, asked.stderr
    pages: dict[str, list[list[str]]] = json.loads(asked.stdout)
    seen = {
        error: [section for page in found[:3] for section in page[:2]]
        for error, found in pages.items()
    }
    assert {error: seen[error] for error, place in ERRORS.items() if place not in seen[error]} == {}
