"""The embedded AWS: how to start it, and the settings of its clients."""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

import boto3
import httpx
import trustme
from botocore.config import Config

from demo import paths
from demo.machine.processes import Child, Children, Program

ACCOUNT = "000000000000"
#: The account's root user, key and secret. Not a secret.
ACCESS_KEY = "test"
START_TIMEOUT_S = 90.0
_DOWNLOAD_SETTINGS = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
    *("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "XDG_CACHE_HOME"),
)
_READY = re.compile(r"embedded AWS ready: (https://\S+)")
_NO_WALLS = re.compile(r"plain processes \(bwrap does not work here: (.*)\), memory limits")


@dataclass(frozen=True, slots=True)
class EmbeddedAws:
    """A running embedded AWS; `trust` is a PEM file for its clients."""

    endpoint: str
    region: str
    trust: Path

    def environment(self) -> dict[str, str]:
        """Variables that make all AWS clients of a process use the embedded AWS alone."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ENDPOINT_URL_S3_FOR_CLOUDFORMATION": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": ACCESS_KEY,
            "AWS_REGION": self.region,
            "AWS_DEFAULT_REGION": self.region,
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CA_BUNDLE": str(self.trust),
            "NODE_EXTRA_CA_CERTS": str(self.trust),
        }

    def environment_as(self, role_arn: str, folder: Path) -> dict[str, str]:
        """The variables for a process that assumes a role; its configuration is in `folder`."""
        configuration = folder / "aws.config"
        configuration.write_text(
            f"[profile embedded]\n"
            f"aws_access_key_id = {ACCESS_KEY}\n"
            f"aws_secret_access_key = {ACCESS_KEY}\n"
            f"[default]\n"
            f"role_arn = {role_arn}\n"
            f"source_profile = embedded\n"
            f"role_session_name = airflow-scheduler\n"
        )
        environment = self.environment() | {"AWS_CONFIG_FILE": str(configuration)}
        # Keys in the environment would override the file.
        del environment["AWS_ACCESS_KEY_ID"], environment["AWS_SECRET_ACCESS_KEY"]
        return environment

    def client(  # boto3 makes its classes at run time
        self, service: str, credentials: Mapping[str, str] | None = None
    ) -> Any:  # noqa: ANN401
        """A boto3 client, with the `Credentials` of an assumed role; None: the account's root."""
        given = credentials or {"AccessKeyId": ACCESS_KEY, "SecretAccessKey": ACCESS_KEY}
        return boto3.client(  # type: ignore[call-overload]  # any service, by name
            service,
            endpoint_url=self.endpoint,
            region_name=self.region,
            aws_access_key_id=given["AccessKeyId"],
            aws_secret_access_key=given["SecretAccessKey"],
            aws_session_token=given.get("SessionToken"),
            verify=str(self.trust),
            config=Config(proxies={}),  # Ignore the user's proxy: this is loopback.
        )

    def interrupt(self, arn: str) -> bool:
        """Take back the Spot capacity of an ECS task or a Batch job; whether it was running."""
        url = f"{self.endpoint}/_local_aws/spot-interruptions"
        trust = ssl.create_default_context(cafile=self.trust)
        answer = httpx.post(url, json={"arn": arn}, verify=trust, trust_env=False)
        return answer.status_code == HTTPStatus.NO_CONTENT


def bare_environment() -> dict[str, str]:
    """The user's variables for each of our programs, without any about AWS."""
    kept = {
        name: os.environ[name]
        for name in ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "NODE_OPTIONS")
        if name in os.environ
    }
    path = os.environ.get("PATH", os.defpath)
    return kept | {
        "PATH": f"{paths.BIN}:{paths.CDK.parent}:{path}",
        "PYTHONUNBUFFERED": "1",
        "NO_COLOR": "1",
    }


def download_settings() -> dict[str, str]:
    """The user's settings for uv and pip: caches, indexes, proxies, certificates.

    Only the image's builder needs them, because it downloads. Its parent's requests to the embedded
    AWS must not use a proxy.
    """
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _DOWNLOAD_SETTINGS or name.startswith(("UV_", "PIP_"))
    }
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
    no_proxy = ",".join(filter(None, (direct, "127.0.0.1", "localhost")))
    return kept | {"NO_PROXY": no_proxy, "no_proxy": no_proxy}


def start(children: Children, home: paths.Home, region: str, *options: str) -> EmbeddedAws:
    """Start it on a free port, with TLS and enforced IAM, and wait until it answers.

    Raises:
        ProcessError: It did not start.
    """
    trust, key = _make_certificate(home.aws)
    child = children.start(
        Program(
            name="embedded-aws",
            argv=[
                *(paths.LOCAL_AWS_PYTHON, "-m", "local_aws"),
                *("--port", "0", "--state-dir", home.aws),
                "--auth",  # Roles get only what their policies grant.
                *("--certificate", trust, "--key", key),
                *options,
            ],
            environment=bare_environment(),
            cwd=paths.ROOT,
        )
    )
    return EmbeddedAws(_address(child), region, trust)


def missing_walls(home: paths.Home) -> str:
    """What is different on this machine because bubblewrap does not work; empty: nothing."""
    found = _NO_WALLS.search((home.aws / "local-aws.log").read_text(errors="replace"))
    if found is None:
        return ""
    return (
        f"bwrap does not work here ({found.group(1)}): without it nothing is restored from a "
        "snapshot, and each such function and MicroVM starts anew"
    )


def _make_certificate(folder: Path) -> tuple[Path, Path]:
    """Make a certificate for 127.0.0.1, with its issuer, and its key.

    The demo needs TLS because the stacks' policies refuse everything else.
    """
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    chain, key = folder / "certificate.pem", folder / "key.pem"
    issued.cert_chain_pems[0].write_to_path(chain)
    authority.cert_pem.write_to_path(chain, append=True)
    key.touch(mode=0o600)
    issued.private_key_pem.write_to_path(key)
    return chain, key


def _address(child: Child) -> str:
    def address() -> str | None:
        found = _READY.search(child.log.read_text(errors="replace"))
        return found.group(1) if found else None

    return child.wait_until(address, "prints its address", START_TIMEOUT_S)
