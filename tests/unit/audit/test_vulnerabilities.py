"""Reports of `uv audit` and `npm audit`, and which of their findings are accepted."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from audit import policy, vulnerabilities
from audit.policy import Accepted, PolicyError
from audit.vulnerabilities import SourceError, Vulnerability

TODAY = dt.date(2026, 11, 30)
FOUND = Vulnerability("urllib3 1.0", ("GHSA-1", "CVE-2026-1"), "It is bad", ("1.1",))

#: What uv 0.13.8 writes.
UV_REPORT: dict[str, Any] = {
    "schema": {"version": "preview"},
    "summary": {"audited_packages": 1, "vulnerabilities": 1, "adverse_statuses": 0},
    "vulnerabilities": [
        {
            "dependency": {"name": "urllib3", "version": "1.0"},
            "id": "GHSA-1",
            "aliases": ["CVE-2026-1"],
            "summary": "It is bad",
            "fix_versions": ["1.1"],
        }
    ],
    "adverse_statuses": [],
}
#: https://docs.npmjs.com/cli/v11/commands/npm-audit
NPM_REPORT: dict[str, Any] = {
    "auditReportVersion": 2,
    "vulnerabilities": {
        "aws-cdk": {"name": "aws-cdk", "range": "<2", "via": ["other"]},
        "other": {
            "name": "other",
            "range": "<3",
            "via": [
                {"source": 1, "url": "https://github.com/advisories/GHSA-2", "title": "Also bad"}
            ],
        },
    },
}


def test_the_report_of_uv_is_read() -> None:
    """With the ids of others, by which a person may have accepted it."""
    assert vulnerabilities.parsed_uv(json.dumps(UV_REPORT)) == [FOUND]


def test_the_report_of_npm_is_read() -> None:
    """A package that only depends on the one with the fault is not counted again."""
    (found,) = vulnerabilities.parsed_npm(json.dumps(NPM_REPORT))
    assert (found.package, found.ids, found.summary) == ("other <3", ("GHSA-2",), "Also bad")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "error: Request failed",
        json.dumps({**UV_REPORT, "vulnerabilities": None}),
        json.dumps({**UV_REPORT, "summary": {"audited_packages": 0}}),
    ],
)
def test_no_report_of_uv_is_not_a_clean_one(text: str) -> None:
    """Neither an empty one, nor one about no package."""
    with pytest.raises(SourceError):
        vulnerabilities.parsed_uv(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "null", "[]", "{}", '{"message": "405 Method Not Allowed", "error": {}}'),
        json.dumps({**NPM_REPORT, "vulnerabilities": {"other": {"via": [{}]}}}),
        json.dumps({**NPM_REPORT, "vulnerabilities": {"other": []}}),
    ],
)
def test_no_report_of_npm_is_not_a_clean_one(text: str) -> None:
    """Npm writes the error of a registry as JSON, too."""
    with pytest.raises(SourceError, match="could not be asked"):
        vulnerabilities.parsed_npm(text)


def test_a_source_that_cannot_be_reached_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing listens on this port of this machine, and nobody else is asked."""
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    with pytest.raises(SourceError, match="OSV could not be asked"):
        vulnerabilities.of_uv(("--only-group", "native"), "http://127.0.0.1:9/")


def test_a_program_that_is_missing_is_a_source_that_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nothing is known then, as without a network: no npm on the path, no uv in `build`."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceError, match="npm could not be run: "):
        vulnerabilities.of_npm()
    monkeypatch.setattr(vulnerabilities, "UV", tmp_path / "uv")
    with pytest.raises(SourceError, match="uv could not be run: "):
        vulnerabilities.of_uv(())
    (tmp_path / "uv").write_text("not a program")
    with pytest.raises(SourceError, match="Permission denied"):
        vulnerabilities.of_uv(())


def test_what_nobody_has_accepted_is_to_be_done() -> None:
    """The line says what to do."""
    (text,) = vulnerabilities.judged([FOUND], [Accepted("GHSA-9", "x", TODAY)], TODAY)
    assert text == "urllib3 1.0: GHSA-1, CVE-2026-1: It is bad (fixed in 1.1)"


def test_what_is_accepted_is_not_until_its_day_is_over() -> None:
    """By any of its ids, and with the reason from the day after."""
    entry = Accepted("CVE-2026-1", "not called", TODAY)
    assert list(vulnerabilities.judged([FOUND], [entry], TODAY)) == []
    (text,) = vulnerabilities.judged([FOUND], [entry], TODAY + dt.timedelta(days=1))
    assert text.endswith("it was accepted until 2026-11-30: not called")


@pytest.mark.parametrize(
    "entry",
    [
        'id = "GHSA-1"\nreason = "x"',
        'id = "GHSA-1"\nuntil = 2026-12-31',
        'id = "GHSA-1"\nreason = ""\nuntil = 2026-12-31',
        'id = "GHSA-1"\nreason = "x"\nuntil = "some day"',
    ],
)
def test_an_entry_without_a_reason_or_an_end_is_refused(tmp_path: Path, entry: str) -> None:
    """Otherwise it would be accepted for ever, and nobody would know why."""
    file = tmp_path / "accepted.toml"
    file.write_text(f"[[accepted]]\n{entry}\n")
    with pytest.raises(PolicyError, match="an id, a reason and the date"):
        policy.accepted(file)
    file.write_text('[[accepted]]\nid = "GHSA-1"\nreason = "x"\nuntil = 2026-12-31\n')
    assert policy.accepted(file) == [Accepted("GHSA-1", "x", dt.date(2026, 12, 31))]
