"""The command line: `python -m local_aws`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from local_aws.http_server import Certificate
from local_aws.lambda_service.async_queue import AsyncSettings
from local_aws.lambda_service.pool import Limits
from local_aws.micro_vm_service.limits import MicroVmLimits
from local_aws.server import Settings, serve


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
            restore_timeout_s=arguments.restore_timeout,
            idle_timeout_s=arguments.idle_timeout,
        ),
        sandbox=arguments.sandbox,
        asynchronous=AsyncSettings(arguments.retry_delay, arguments.duplicate_every),
        micro_vm_limits=MicroVmLimits(arguments.micro_vm_memory, arguments.micro_vm_exit_delay),
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
            "AWS for development in one process: ministack serves the APIs, and functions run as "
            "real handlers under awslambdaric. The account is 000000000000, access key and secret "
            "are `test`. Prints one line when it is ready and logs to <state dir>/local-aws.log."
        ),
    )
    add = parser.add_argument

    def number(name: str, default: float, metavar: str, text: str) -> None:
        """Add an option whose value has the default's type."""
        text += " (default: %(default)s)"
        add(name, type=type(default), default=default, metavar=metavar, help=text)

    add("--state-dir", type=Path, required=True, help="folder for images and the log (required)")
    add("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    number("--port", 4566, "PORT", "port to listen on; 0: a free one")
    add("--auth", action="store_true", help="enforce IAM permissions")
    add("--certificate", type=Path, metavar="PEM", help="serve TLS with this certificate")
    add("--key", type=Path, metavar="PEM", help="private key of the certificate")
    number(
        *("--account-concurrency", 16, "N"),
        "concurrent invocations, over all functions without reserved concurrency",
    )
    number("--scaling-rate", 1000, "N", "environments that a function may add in ten seconds")
    add(
        "--sandbox",
        choices=("auto", "bwrap", "process"),
        default="auto",
        help="isolate execution environments with bubblewrap, or run plain processes; auto uses "
        "bubblewrap where it works (default: %(default)s)",
    )
    number(
        *("--init-timeout", 60.0, "SECONDS"),
        "limit of an init phase; Lambda's is 10, but here environments share the CPUs",
    )
    number(
        *("--restore-timeout", 10.0, "SECONDS"),
        "limit of the restore of a snapshot, with the hooks after it; Lambda's is 10, too",
    )
    number("--idle-timeout", 600.0, "SECONDS", "end a warm environment idle for this long")
    number(
        *("--retry-delay", 1.0, "SECONDS"),
        "wait before the first retry of an async invocation; the second waits twice as long",
    )
    number(
        *("--duplicate-every", 0, "N"),
        "deliver every Nth async event of a function twice, as Lambda may do; 0: never",
    )
    number(
        *("--micro-vm-memory", 400, "GB"),
        "memory of all MicroVMs that run at a time in an account and Region",
    )
    number(
        *("--micro-vm-exit-delay", 0.0, "SECONDS"),
        "wait from the end of a MicroVM's process until it is TERMINATED; on AWS about 15",
    )
    add(
        "--without-fix",
        action="append",
        default=[],
        metavar="NAME",
        help="leave out a fix of ministack, see docs/reference/local-aws.md; `all`: every fix; "
        "may be repeated",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
