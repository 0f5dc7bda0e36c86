"""The FastAPI app behind the page. Every route needs a log-in; `access` says which permission."""

from __future__ import annotations

import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

from airflow.api_fastapi.auth.managers.models.base_user import BaseUser
from airflow.api_fastapi.core_api.security import get_user
from airflow.configuration import conf
from airflow.version import version as airflow_version
from fastapi import (
    APIRouter,
    Body,
    Depends,
    FastAPI,
    HTTPException,
    Query,
    Request,
    Response,
    status,
)
from fastapi.exception_handlers import http_exception_handler
from fastapi.responses import FileResponse, RedirectResponse
from starlette.middleware.base import RequestResponseEndpoint

from lambda_executor.contract.wire import InvocationId
from lambda_executor.ops import dead_letter_actions, tasks
from lambda_executor.ops.dead_letters import NOT_AWAITED
from lambda_executor.ops.doctor import checks
from lambda_executor.ops.doctor.dag_findings import Versions
from lambda_executor.plugin import airflow_path, audit, invocations, page_path, panels
from lambda_executor.plugin.access import (
    Right,
    asker,
    from_the_page,
    may,
    may_on,
    needs,
    needs_log_of,
    readable_dags,
    refuse,
)
from lambda_executor.plugin.panels import Answer
from lambda_executor.plugin.places import in_a_place
from lambda_executor.setup.connection import Connected

_STATIC = Path(__file__).parent / "static"
#: The page loads nothing from elsewhere and runs no script but its own; only Airflow frames it.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
#: The most dead letters that one press of a button looks at.
_MOST_DEAD_LETTERS = 100

#: Who has logged in.
User = Annotated[BaseUser, Depends(get_user)]
#: Hours of which times and starts are shown.
Hours = Annotated[int, Query(ge=1, le=24 * 7)]

_doctor_runs = threading.Lock()

#: What everybody with a log-in may have.
router = APIRouter(dependencies=[Depends(get_user)])
#: What shows the environment.
seen = APIRouter(
    prefix="/api",
    dependencies=[Depends(get_user), Depends(in_a_place), Depends(needs(Right.SEE))],
)


def make_app() -> FastAPI:
    """Make the app; it has no description of its API, which would need no log-in."""
    app = FastAPI(title="Lambda executor", openapi_url=None)
    app.include_router(router)
    app.include_router(seen)
    app.middleware("http")(_with_headers)
    app.exception_handler(HTTPException)(_or_to_the_log_in)
    return app


async def _or_to_the_log_in(request: Request, error: HTTPException) -> Response:
    """Send a person whose session has ended to Airflow's log-in, and back to the page."""
    if error.status_code == status.HTTP_401_UNAUTHORIZED and request.scope["endpoint"] is page:
        query = f"?{request.url.query}" if request.url.query else ""
        wanted = urlencode({"next": f"{page_path()}{query}"})
        return RedirectResponse(f"{airflow_path()}/api/v2/auth/login?{wanted}")
    return await http_exception_handler(request, error)


async def _with_headers(request: Request, call_next: RequestResponseEndpoint) -> Response:
    response = await call_next(request)
    response.headers.update(_HEADERS)
    return response


@router.get("/")
async def page() -> FileResponse:
    """Serve the page."""
    return FileResponse(_STATIC / "page.html", media_type="text/html")


@router.get("/page.css")
async def style() -> FileResponse:
    """Serve its style."""
    return FileResponse(_STATIC / "page.css", media_type="text/css")


@router.get("/page.js")
async def script() -> FileResponse:
    """Serve its script."""
    return FileResponse(_STATIC / "page.js", media_type="text/javascript")


@router.get("/api/rights")
def rights(user: User) -> dict[str, bool]:
    """Tell the page which panels and buttons this person has."""
    return {right.name.lower(): may(user, right) for right in Right}


@seen.get("/in-flight")
def in_flight() -> Answer:
    """Count the in-flight tasks."""
    return panels.in_flight()


@seen.get("/durations")
def durations(hours: Hours = 24) -> Answer:
    """Measure how long tasks waited and ran."""
    return panels.durations(hours)


@seen.get("/starts")
def starts(hours: Hours = 24) -> Answer:
    """Count cold and restored starts, and throttles."""
    return panels.starts(hours)


@seen.get("/queues")
def queues() -> Answer:
    """Name the queues."""
    return panels.queues()


@seen.get("/queues/{number}")
def queue_depth(number: int) -> Answer:
    """Count the messages of a queue."""
    return panels.queue_depth(number)


@seen.get("/wiring", dependencies=[Depends(needs(Right.READ_WIRING))])
def wiring() -> Answer:
    """Read the configuration again, and show it."""
    return panels.wiring()


@seen.get("/failures", dependencies=[Depends(needs(Right.READ_TASKS))])
def failures(user: User) -> Answer:
    """List the latest failures of the DAGs that this person may read."""
    return panels.failures(readable_dags(user), asker(user, Right.READ_TASKS))


@seen.get("/dead-letters", dependencies=[Depends(needs(Right.READ_TASKS))])
def dead_letters(user: User) -> Answer:
    """List dead letters of the DAGs that this person may read."""
    return panels.dead_letters(asker(user, Right.READ_TASKS))


@router.get("/api/invocation", dependencies=[Depends(in_a_place), Depends(needs_log_of)])
def invocation(
    dag_id: str,
    run_id: str,
    task_id: str,
    map_index: int = -1,
    try_number: Annotated[int | None, Query(ge=0)] = None,
) -> Answer:
    """Describe the invocation of a task."""
    return invocations.described(dag_id, run_id, task_id, map_index, try_number)


@seen.post("/doctor", dependencies=[Depends(from_the_page), Depends(needs(Right.READ_WIRING))])
def doctor() -> Answer:
    """Run the doctor, which calls AWS some dozens of times and probes each function."""
    with _one_doctor():
        here = Versions(airflow_version, platform.python_version())
        found = [panels.as_seen_here(each) for each in checks.examine(conf, os.environ, here)]
    return {"findings": found}


@seen.post(
    "/dead-letters/retry", dependencies=[Depends(from_the_page), Depends(needs(Right.CHANGE))]
)
def retry(id: Annotated[str, Body(embed=True, min_length=1)], user: User) -> Answer:
    """Send the invocation of a dead letter again."""

    def send(found: Connected) -> Answer:
        awaited = tasks.awaited([InvocationId(id)]).get(InvocationId(id))
        if awaited is None:
            return {"left": f"left as it is: {NOT_AWAITED}"}
        if not may_on(user, Right.CHANGE, awaited.task.dag_id):
            refuse("change the task instances of this DAG")
        with audit.recorded(audit.RETRY, user, awaited.task) as outcome:
            outcomes = dict(dead_letter_actions.retry(found, _MOST_DEAD_LETTERS, [id]))
            outcome["left"] = outcomes.get(id, "")
        return outcome

    return panels.with_wiring("sqs", send)


@seen.post(
    "/dead-letters/purge", dependencies=[Depends(from_the_page), Depends(needs(Right.CHANGE))]
)
def purge(user: User) -> Answer:
    """Delete the dead letters that no task waits for, of the DAGs that this person may change."""

    def delete(found: Connected) -> Answer:
        may_delete = asker(user, Right.CHANGE)
        with audit.recorded(audit.PURGE, user) as outcome:
            done = dead_letter_actions.purge(
                found, _MOST_DEAD_LETTERS, is_sure=True, may=may_delete
            )
            outcome |= {"kept": done.kept, "refused": done.refused, "withheld": done.withheld}
            outcome |= {"deleted": done.unneeded - done.refused, "ids": done.ids}
        return outcome

    return panels.with_wiring("sqs", delete)


@contextmanager
def _one_doctor() -> Iterator[None]:
    """Let one doctor run at once in this process: each press of the button probes the functions."""
    if not _doctor_runs.acquire(blocking=False):
        raise HTTPException(409, "the doctor is running already")
    try:
        yield
    finally:
        _doctor_runs.release()
