"""The user's variables in the environment of the demo's programs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from demo import paths
from demo.machine.embedded_aws import (
    EmbeddedAws,
    bare_environment,
    download_settings,
    missing_walls,
)
from local_aws.sandbox.sandbox import Confinement

GIVEN = {
    "UV_CACHE_DIR": "/cache/uv",
    "UV_INDEX_URL": "https://packages.example.com/simple",
    "PIP_INDEX_URL": "https://packages.example.com/simple",
    "XDG_CACHE_HOME": "/cache",
    "HTTPS_PROXY": "http://proxy.example.com:3128",
    "http_proxy": "http://proxy.example.com:3128",
    "REQUESTS_CA_BUNDLE": "/etc/ssl/company.pem",
    "SSL_CERT_FILE": "/etc/ssl/company.pem",
}
WITHHELD = {"AWS_PROFILE": "production", "AIRFLOW_HOME": "/home/somebody/airflow"}


def test_the_builder_downloads_as_the_user_would(monkeypatch: pytest.MonkeyPatch) -> None:
    """The image's builder gets only caches, indexes, proxies and certificates."""
    for name, value in (GIVEN | WITHHELD).items():
        monkeypatch.setenv(name, value)
    settings = download_settings()
    assert settings.items() >= GIVEN.items()
    assert not settings.keys() & WITHHELD


def test_no_proxy_comes_between_us_and_the_embedded_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Loopback is added to the user's NO_PROXY; other programs get no proxy."""
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("NO_PROXY", "internal.example.com")
    settings = download_settings()
    assert settings["NO_PROXY"] == "internal.example.com,127.0.0.1,localhost"
    assert settings["no_proxy"] == settings["NO_PROXY"]
    assert "HTTPS_PROXY" not in bare_environment()
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example.com:3128")
    aws = EmbeddedAws("https://127.0.0.1:1", "eu-west-1", trust=Path(os.devnull))
    session = aws.client("sqs")._endpoint.http_session
    assert session._proxy_config.proxy_url_for(aws.endpoint) is None


@pytest.mark.parametrize(
    ("confinement", "note"),
    [
        (Confinement("/bin/bwrap", None), ""),
        (Confinement("", None), ""),
        (Confinement("", None, "No permissions"), "bwrap does not work here (No permissions): "),
    ],
    ids=["walls", "none wanted", "none possible"],
)
def test_a_machine_without_walls_is_told_of(
    confinement: Confinement, note: str, tmp_path: Path
) -> None:
    """The note has the reason, from the log of the embedded AWS."""
    home = paths.Home(tmp_path)
    home.make_empty()
    (home.aws / "local-aws.log").write_text(f"INFO execution environments: {confinement}\n")
    assert missing_walls(home).startswith(note)
    assert bool(missing_walls(home)) == bool(note)
