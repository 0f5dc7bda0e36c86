"""The doctor's rules about a function's answer to a probe."""

from __future__ import annotations

from collections.abc import Iterator

from lambda_executor.aws import ProbeReply
from lambda_executor.contract.errors import DecodeError
from lambda_executor.contract.probe import ProbeAnswer
from lambda_executor.contract.wire import WIRE_VERSION
from lambda_executor.core.findings import Finding, ok, problem, unknown
from lambda_executor.core.targets import FunctionTarget
from lambda_executor.ops.doctor.dag_findings import Expected, dag_files
from lambda_executor.ops.doctor.diagnosis import DEPLOY

#: Prefixes of the errors that a function raises before its handler, for every invocation.
#: https://docs.aws.amazon.com/lambda/latest/dg/python-exceptions.html
_BEFORE_THE_HANDLER = ("Runtime.", "Sandbox.", "Extension.", "Function.")

#: Errors of httpx and httpx2 for an API that was reached and did not answer in time.
_TOO_SLOW = ("ReadTimeout", "WriteTimeout")


def probed(target: FunctionTarget, reply: ProbeReply, expected: Expected) -> Iterator[Finding]:
    """Judge the answer to a probe."""
    name = str(target)
    try:
        answer = ProbeAnswer.decode(reply.payload)
    except DecodeError:
        yield _no_answer(target, reply)
        return
    yield _execution_api(name, answer)
    yield _airflow(name, answer.airflow, expected.here.airflow)
    # Only DAGs may depend on the Python version; the executor and the handler do not.
    python = expected.here.python
    beside = "the same as here" if answer.python == python else f"here {python}: only DAGs may mind"
    yield ok("Python", f"{answer.python}, {beside}", name)
    yield _wire(name, answer.wire_version)
    yield from dag_files(name, answer, expected)


def _no_answer(target: FunctionTarget, reply: ProbeReply) -> Finding:
    error = ": ".join(filter(None, (reply.failure, reply.message))) or "it returned something else"
    if reply.failure.startswith(_BEFORE_THE_HANDLER):
        return problem(
            "probe",
            f"the function fails before its handler ({error}), and so does every workload",
            "read the function's log, build the image again and deploy it",
            f"aws logs tail /aws/lambda/{target.function.rpartition(':')[2]} --since 15m",
            str(target),
        )
    return unknown(
        "probe",
        f"its handler does not answer probes ({error}): its versions and its way to the Execution "
        "API are not known",
        "nothing, if it is the reference's image; otherwise deploy the image of this release",
        of=str(target),
    )


def _execution_api(name: str, answer: ProbeAnswer) -> Finding:
    url, limit_s = answer.execution_api_url, answer.execution_api_timeout_s
    took = f"{answer.execution_api_ms:.0f} ms"
    is_slow = answer.execution_api_error.startswith(_TOO_SLOW)
    if answer.execution_api_error and not is_slow:
        return problem(
            "Execution API",
            f"{url} cannot be reached from the function: {answer.execution_api_error}",
            "correct this variable of the function (execution.execution_api_url of the stage), or "
            "the way from its network: subnets, security groups, DNS, TLS",
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL=https://<host>/execution/",
            name,
        )
    # One answer of several, and a busy API takes longer: half of the time-out is too close.
    if is_slow or (limit_s and answer.execution_api_ms > limit_s * 500):
        end = f"no answer within {took}" if is_slow else f"its answer took {took}"
        waits = f"a task waits {limit_s:g} s for one" if limit_s else "tasks wait as long"
        return problem(
            "Execution API",
            f"{url} was reached and is slow: {end}; {waits} ([workers] execution_api_timeout)",
            "give the API server more CPU or more workers ([api] workers), or let tasks wait "
            "longer by this variable of the function",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT=30",
            name,
        )
    return ok("Execution API", f"{url} answers in {took}", name)


def _airflow(name: str, image: str, scheduler: str) -> Finding:
    if image.split(".")[:2] == scheduler.split(".")[:2]:
        beside = "the same as here" if image == scheduler else f"here {scheduler}"
        return ok("Airflow", f"{image}, {beside}", name)
    return problem(
        "Airflow",
        f"{image} in the image, {scheduler} here: they may not understand each other's workloads",
        f'write "image": {{"airflow_version": "{scheduler}"}} into the stage in cdk.json and '
        "deploy it; an image of your own (image.uri) is built with `docker build "
        "--platform=linux/amd64 --provenance=false --sbom=false -f lambda_image/Dockerfile "
        f"--build-arg AIRFLOW_VERSION={scheduler} -t airflow-lambda:{scheduler} .` "
        "(docs/howto/image.md)",
        DEPLOY,
        name,
    )


def _wire(name: str, image: int) -> Finding:
    if image == WIRE_VERSION:
        return ok("wire", f"version {image}, the same as here", name)
    return problem(
        "wire",
        f"version {image} in the image, {WIRE_VERSION} here",
        "install the executor and deploy the image from the same release",
        f"pip install ./executor && {DEPLOY}",
        name,
    )
