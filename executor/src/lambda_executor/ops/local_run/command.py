"""The command `airflow lambda-executor run`: its options, its two programs, and its summary."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import secrets
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from airflow.configuration import AIRFLOW_CONFIG, conf

from lambda_executor.contract.errors import LocalRunError
from lambda_executor.contract.local_run import ENTRY_POINT, Order
from lambda_executor.ops.local_run import limits, own_database, summary, walls
from lambda_executor.ops.local_run.programs import AirflowSide, ImageSide
from lambda_executor.ops.terminal import Say, command
from lambda_executor.setup.team_conf import conf_of_team

_IMAGE = ENTRY_POINT.partition(".")[0]


@command
def run(args: argparse.Namespace, say: Say) -> bool:
    """Run one task as the function would, and say what Lambda would have stopped it for."""
    of_team = conf_of_team(args.team)
    image = _image(args.image_source)
    debugger = _debugger(args)
    request = _request(args)
    with _ended_by_signals(), ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="airflow-lambda-run-"))
        )
        say("preparing a database and an Execution API for this run, which takes some seconds")
        airflow = stack.enter_context(AirflowSide(folder, request, _of_airflow(folder), say))
        answer = airflow.answer
        of_function = limits.of_task(of_team, answer["queue"], answer["executor_config"])
        allowed = of_function.but(
            memory_mb=args.memory_mb, timeout_s=args.timeout_s, tmp_mb=args.tmp_mb
        )
        bubblewrap = walls.program()
        readable = (str(image), *sys.path, sys.prefix, sys.base_prefix, *answer["folders"])
        readable = (*readable, AIRFLOW_CONFIG, conf.get("core", "plugins_folder"), str(Path.cwd()))
        tmp = Path("/tmp") if bubblewrap else folder / "tmp"  # noqa: S108 - of its own
        tmp.mkdir(exist_ok=True)
        say(*summary.head(request, allowed, answer["notes"], has_walls=bubblewrap is not None))
        order = Order(
            answer["workload"], allowed.memory_mb, allowed.timeout_s, debugger, args.debug_port or 0
        )
        program = ImageSide(order, say, _of_image(image, tmp, answer["url"], allowed.memory_mb))
        if bubblewrap:
            program.behind(lambda argv: walls.command(bubblewrap, allowed.tmp_mb, readable, argv))
        seen = program.run()
        findings = summary.findings(
            seen, allowed, airflow.state(), has_walls=bubblewrap is not None, debugger=debugger
        )
    say(*summary.lines(findings))
    return not any(finding.is_problem for finding in findings)


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Turn SIGTERM, and the SIGHUP of a closed terminal, into SystemExit: the folder is removed."""

    def end(number: int, _: object) -> NoReturn:
        for each in before:
            signal.signal(each, signal.SIG_IGN)  # Another one must not interrupt the removal.
        sys.exit(128 + number)

    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = {each: signal.getsignal(each) for each in numbers}
    for each, handler in before.items():
        if handler != signal.SIG_IGN:  # As under `nohup`.
            signal.signal(each, end)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _request(args: argparse.Namespace) -> dict[str, Any]:
    """The task and its run, in the fields of `airflow_side.Request`.

    Raises:
        LocalRunError: An option has an unusable value.
    """
    if args.no_database and args.run_id is not None:
        raise LocalRunError("--run-id is a run in Airflow's database: leave out --no-database")
    url = conf.get("database", "sql_alchemy_conn")
    return {
        "dag": args.dag,
        "task": args.task,
        "run_id": f"lambda_run__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}",
        "map_index": args.map_index,
        "logical_date": args.logical_date,
        "conf": None if args.conf is None else json.dumps(_json("--conf", args.conf)),
        "xcoms": dict(_xcom(text) for text in args.xcom),
        "real_database": None if args.no_database else url,
        "real_connect_args": conf.get("database", "sql_alchemy_connect_args", fallback=None),
        "real_run": args.run_id,
    }


def _xcom(text: str) -> tuple[str, Any]:
    task, equals, value = text.partition("=")
    if not (task and equals):
        raise LocalRunError(
            f"--xcom is {text!r}: write TASK=JSON, what this upstream task returned"
        )
    return task, _json("--xcom", value)


def _json(option: str, text: str) -> Any:  # noqa: ANN401 - any JSON
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as e:
        raise LocalRunError(f"{option} is {text!r:.200}, which is not JSON: {e}") from e


def _debugger(args: argparse.Namespace) -> str | None:
    """Which debugger is wanted.

    Raises:
        LocalRunError: It is not installed.
    """
    if args.debug_port is None:
        return "pdb" if args.debug else None
    if importlib.util.find_spec("debugpy") is None:
        raise LocalRunError(
            "--debug-port needs debugpy, which is not installed here: run `pip install debugpy`, "
            "or use --debug alone for pdb in this terminal"
        )
    return "debugpy"


def _image(given: str | None) -> Path:
    """The folder with the image's code.

    Raises:
        LocalRunError: There is none.
    """
    if given is not None:
        candidates = [Path(given)]
    else:
        found = importlib.util.find_spec(_IMAGE)
        own = [Path(path).parent for path in (found and found.submodule_search_locations) or ()]
        candidates = [*own, Path.cwd()]
    for folder in candidates:
        if Path(folder, *ENTRY_POINT.split(".")).with_suffix(".py").is_file():
            return folder.resolve()
    raise LocalRunError(
        f"the code of the function's image ({_IMAGE}) is not in {candidates[-1]}: run the command "
        "in a checkout of the project, in a container of the image, or name the checkout with "
        "--image-source"
    )


def _of_airflow(folder: Path) -> dict[str, str]:
    """The variables of the program that has the database, beside our own."""
    return {
        "AIRFLOW__API_AUTH__JWT_PRIVATE_KEY_PATH": "",
        "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_urlsafe(48),
        "AIRFLOW__API_AUTH__TRUSTED_JWKS_URL": "",
        "AIRFLOW__DATABASE__LOAD_DEFAULT_CONNECTIONS": "False",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(folder / "logs"),
        **own_database.variables(str(folder / "airflow.db")),
    }


def _of_image(image: Path, tmp: Path, url: str, memory_mb: int) -> dict[str, str]:
    """The variables of the image's process, beside our own, but for those of Airflow's database.

    AIRFLOW_HOME is below /tmp, as in a function; what it had is named by its own variables.
    """
    return {
        "AIRFLOW_CONFIG": AIRFLOW_CONFIG,
        "AIRFLOW__CORE__DAGS_FOLDER": conf.get("core", "dags_folder"),
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": url,
        "AIRFLOW__CORE__HOSTNAME_CALLABLE": f"{_IMAGE}.machine.environment.hostname",
        "AIRFLOW__CORE__PLUGINS_FOLDER": conf.get("core", "plugins_folder"),
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": f"{tmp}/dag_bundles",
        "AIRFLOW__LOGGING__BASE_LOG_FOLDER": f"{tmp}/logs",
        "AIRFLOW__LOGGING__REMOTE_LOGGING": "False",
        "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": "30",  # It shares this machine with the task.
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(memory_mb),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(image), os.environ.get("PYTHONPATH")])),
        "TMPDIR": str(tmp),
        **own_database.variables(""),  # A task has none.
    }
