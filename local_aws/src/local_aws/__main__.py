"""The command line: `python -m local_aws`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from local_aws.lambda_service.async_queue import AsyncSettings
from local_aws.lambda_service.pool import Limits
from local_aws.server import Certificate, Settings, serve


def main(argv: list[str] | None = None) -> int:
    """Read the command line and serve until SIGTERM or SIGINT."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    if (arguments.certificate is None) != (arguments.key is None):
        parser.error("--certificate and --key go together: give both for TLS, none for plain HTTP")
    settings = Settings(
        host=arguments.host,
        port=arguments.port,
        state_dir=arguments.state_dir,
        enforce_iam=arguments.auth,
        certificate=(
            Certificate(arguments.certificate.resolve(), arguments.key.resolve())
            if arguments.certificate
            else None
        ),
        limits=Limits(
            account_concurrency=arguments.account_concurrency,
            scaling_rate=arguments.scaling_rate,
            init_timeout_s=arguments.init_timeout,
            idle_timeout_s=arguments.idle_timeout,
        ),
        sandbox=arguments.sandbox,
        asynchronous=AsyncSettings(arguments.retry_delay, arguments.duplicate_every),
        without_fixes=frozenset(arguments.without_fix),
    )
    try:
        serve(settings, announce=lambda url: print(f"embedded AWS ready: {url}", flush=True))
    except (OSError, ValueError) as e:
        print(f"the embedded AWS cannot start: {e}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m local_aws",
        description=(
            "AWS for development, in one process: ministack's APIs with a Lambda data plane that "
            "runs real handlers under awslambdaric. Account 000000000000, key and secret `test`. "
            "Prints one line when it answers; its log is <state dir>/local-aws.log."
        ),
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on")
    add("--port", type=int, default=4566, help="port to listen on; 0: a free one")
    add("--state-dir", type=Path, required=True, help="where images and the log are kept")
    add("--auth", action="store_true", help="enforce IAM permissions")
    add("--certificate", type=Path, metavar="PEM", help="serve TLS, with this certificate")
    add("--key", type=Path, metavar="PEM", help="the private key of the certificate")
    add(
        "--account-concurrency",
        type=int,
        default=16,
        help="invocations at the same time of all functions without reserved concurrency",
    )
    add(
        "--scaling-rate",
        type=int,
        default=1000,
        help="execution environments that a function may add in ten seconds",
    )
    add(
        "--sandbox",
        choices=("auto", "bwrap", "process"),
        default="auto",
        help="what environments are: behind bubblewrap's walls, or plain processes; "
        "auto: walls where bubblewrap works",
    )
    add(
        "--init-timeout",
        type=float,
        default=60,
        help="seconds of an init phase; more than Lambda's 10, as environments share the CPUs",
    )
    add(
        "--idle-timeout",
        type=float,
        default=600,
        help="seconds after which a warm environment without work is ended",
    )
    add(
        "--retry-delay",
        type=float,
        default=1,
        help="seconds before the first retry of an async invocation; the second waits twice that",
    )
    add(
        "--duplicate-every",
        type=int,
        default=0,
        metavar="N",
        help="deliver every Nth async event of a function twice, as Lambda may do; 0: none",
    )
    add(
        "--without-fix",
        action="append",
        default=[],
        metavar="NAME",
        help="leave a fix of ministack out (see docs/reference/local-aws.md); `all`: all of them",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
