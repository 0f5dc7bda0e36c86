"""The embedded AWS over TLS: who is trusted, and what policies see."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import trustme
from botocore.exceptions import HTTPClientError, SSLError

from tests.support.local_aws import (
    CLEAN_ENVIRONMENT,
    ROOT,
    SERVER_PYTHON,
    Server,
    client,
    inject,
)
from tests.support.micro_vms import built_image


@dataclass(frozen=True)
class Certificate:
    """Two files: a certificate with its issuer, and its key."""

    chain: Path
    key: Path


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for 127.0.0.1, of an issuer whom nobody knows."""
    folder = tmp_path_factory.mktemp("certificate")
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(made.chain)
    authority.cert_pem.write_to_path(made.chain, append=True)
    issued.private_key_pem.write_to_path(made.key)
    return made


def test_clients_that_trust_the_certificate_are_answered(
    certificate: Certificate, tmp_path: Path
) -> None:
    """Addresses in answers are TLS ones, also the function's; whoever lacks trust stays outside.

    A fault ends a connection here, too.
    """
    files = ("--certificate", str(certificate.chain), "--key", str(certificate.key))
    server = Server(tmp_path, *files, trust=certificate.chain)
    try:
        url = server.client("sqs").create_queue(QueueName="q")["QueueUrl"]
        assert url.startswith(server.url + "/")
        with pytest.raises(SSLError):
            client("sqs", server.url, "test", "test").list_queues()
        given = server.function().invoke({})["Payload"]["environment"]
        assert given["AWS_ENDPOINT_URL"] == server.url
        assert given["AWS_CA_BUNDLE"] == str(certificate.chain)
        for fault in ("reset", "lost_answer"):
            rule = {"name": fault, "api": "sqs:*", "fault": fault, "share": 1, "limit": 1}
            inject(server, rule)
            with pytest.raises(HTTPClientError):
                server.client("sqs").list_queues()
        server.client("sqs").list_queues()
    finally:
        assert server.stop() == 0


def test_a_micro_vm_trusts_the_certificate(certificate: Certificate, tmp_path: Path) -> None:
    """Its calls are answered; the metadata service speaks plain HTTP, as on AWS."""
    files = ("--certificate", str(certificate.chain), "--key", str(certificate.key))
    server = Server(tmp_path / "state", *files, trust=certificate.chain)
    try:
        micro_vm = built_image(server).run({"call": server.queue().url})
        micro_vm.ended()
        assert f"/{micro_vm.id}" in micro_vm.log()[-2]
    finally:
        assert server.stop() == 0


#: The embedded AWS, which waits half a second instead of thirty for a client's end of TLS.
IMPATIENT = """
import asyncio.constants, runpy
asyncio.constants.SSL_SHUTDOWN_TIMEOUT = 0.5
runpy.run_module("local_aws", run_name="__main__")
"""


def test_a_client_that_does_not_answer_the_end_of_tls_is_no_error(
    certificate: Certificate, tmp_path: Path
) -> None:
    """Every idle connection in a client's pool is such a client: the log has no traceback."""
    files = ("--certificate", str(certificate.chain), "--key", str(certificate.key))
    server = Server(tmp_path, *files, trust=certificate.chain, program=("-c", IMPATIENT))
    try:
        address = ("127.0.0.1", int(server.url.rpartition(":")[2]))
        trusting = ssl.create_default_context(cafile=certificate.chain)
        with (
            socket.create_connection(address, timeout=30) as tcp,
            trusting.wrap_socket(tcp, server_hostname=address[0]) as silent,
            socket.socket(fileno=os.dup(silent.fileno())) as connection,
        ):
            silent.sendall(b"GET / HTTP/1.1\r\nHost: aws\r\nConnection: close\r\n\r\n")
            while silent.recv(65536):
                pass
            connection.settimeout(30)
            # The server has ended TLS; wait until it gives up and closes the connection.
            assert connection.recv(1) == b""
        server.client("sqs").list_queues()
    finally:
        assert server.stop() == 0
    assert "Traceback" not in (tmp_path / "local-aws.log").read_text()


def test_an_idle_client_does_not_hold_up_the_end(certificate: Certificate, tmp_path: Path) -> None:
    """Not for the half minute that asyncio gives a client to answer the end of TLS."""
    files = ("--certificate", str(certificate.chain), "--key", str(certificate.key))
    server = Server(tmp_path, *files, trust=certificate.chain)
    idle = client("sqs", server.url, "test", "test", trust=certificate.chain)
    idle.list_queues()
    assert server.stop() == 0
    idle.close()


def test_a_certificate_without_its_key_is_refused(certificate: Certificate, tmp_path: Path) -> None:
    """One of the two options alone could only mean plain HTTP by mistake."""
    done = subprocess.run(
        [
            *(str(SERVER_PYTHON), "-m", "local_aws", "--port", "0", "--state-dir", str(tmp_path)),
            *("--certificate", str(certificate.chain)),
        ],
        cwd=ROOT,
        env=CLEAN_ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 2
    assert "--certificate and --key go together" in done.stderr
