"""The calls of one boto3 client that are made often, without boto3's work for each.

boto3 decides how AWS is reached, and `http.py` sends. For the first call of a kind boto3 makes the
request, which is caught before it is sent (botocore's event `before-send`); the next ones are
copies of it (`signing.py`). Credentials come from the client's own session, for each request, so
they are refreshed as boto3 refreshes them. What is not known here is left to boto3: proxies with
TLS or a certificate, a client's own certificate, signatures of another kind.
"""

from __future__ import annotations

import functools
import json
import logging
import threading
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.exceptions import ClientError, NoCredentialsError
from botocore.parsers import create_parser

from lambda_executor.aws.call import Answer, NoAnswerError, NotSentError, Outcome
from lambda_executor.aws.http import WHY_MISSING, Connections
from lambda_executor.aws.reach import PAUSE_S, Reach
from lambda_executor.aws.signing import Credentials, Template
from lambda_executor.aws.ways import Ways

log = logging.getLogger(__name__)

#: The protocol of SQS, as the type of its requests.
JSON = "application/x-amz-json-1.0"
#: The most kinds of requests that are kept; each tenant of a function is one.
MOST_TEMPLATES = 512
#: A call by the client that it is given.
Ask = Callable[[Any], Any]
#: Called once, on any thread, with the error of a call.
Ended = Callable[[Exception | None], None]


@dataclass(frozen=True, slots=True)
class _Made:
    """boto3 has made the call, with this answer."""

    answer: Any


@dataclass(frozen=True, slots=True)
class _Copy:
    """A call that is ready to be sent by awscrt.

    Attributes:
        attempt: Its number; see `Reach`.
    """

    template: Template
    headers: list[tuple[str, str]]
    body: bytes
    attempt: int


class Native:
    """The calls of one client that awscrt makes.

    Args:
        session: The session of the client, for its credentials.
        client: A client of boto3.
    """

    def __init__(self, session: Any, client: Any) -> None:  # noqa: ANN401 - boto3 makes them at run time
        self._session = session
        self._client = client
        self._catching = threading.Lock()
        self._templates: dict[Hashable, Template] = {}
        self._ways = Ways(session, client)
        self._reach = Reach()
        self._why_not = _why_missing()
        if self._why_not is None and (reason := self._ways.unsupported()):
            self._stop(reason)

    def begin(self, operation: str, kind: Hashable, ask: Ask, body: bytes, ended: Ended) -> bool:
        """Make a call that has no answer but its status; return at once whether it was begun.

        If not, boto3 has to make it.

        Args:
            operation: Its name in AWS's API.
            kind: What decides everything of the request but its body.
            ask: The same call by boto3, which makes it if its request cannot be caught.
            body: The body.
            ended: Called once, unless the call was not begun.

        Raises:
            ClientError: AWS refused the call of boto3.
            BotoCoreError: There are no credentials, or no connection.
        """
        copy = self._copy(operation, kind, ask, body)
        if copy is None:
            return False
        if isinstance(copy, _Made):
            ended(None)
            return True

        def done(outcome: Outcome) -> None:
            try:
                error = self._error(operation, copy.attempt, outcome)
            except Exception as unexpected:  # noqa: BLE001 - it would be lost on the native thread
                error = unexpected
            ended(error)

        if answer := self._answer_of_a_listener(operation, copy):
            done(answer)
            return True
        if (to := self._to(copy.template.url)) is None:
            return False
        to.begin(copy.template.method, copy.template.path, copy.headers, body, done)
        return True

    def call_json(self, operation: str, ask: Ask, request: Mapping[str, Any], read_s: float) -> Any:  # noqa: ANN401 - AWS's answer
        """Make a call of a JSON protocol; return its answer, or None if boto3 has to make it.

        As in an answer of boto3, the headers are in its `ResponseMetadata`, with small letters.

        Args:
            operation: Its name in AWS's API.
            ask: The same call by boto3, which makes it if its request cannot be caught.
            request: The parameters of the call.
            read_s: Seconds to wait for the answer.

        Raises:
            ClientError: AWS refused the call of boto3.
            BotoCoreError: There are no credentials, or no connection.
        """
        copy = self._copy(operation, None, ask, json.dumps(request).encode())
        if isinstance(copy, _Made):
            return copy.answer
        if copy and ("content-type", JSON) not in copy.template.headers:
            self._stop(f"{operation} does not speak {JSON}")
            copy = None
        if copy is None:
            return None
        template = copy.template
        answer = self._answer_of_a_listener(operation, copy)
        if answer is None and (to := self._to(template.url)) is not None:
            try:
                answer = to.call(template.method, template.path, copy.headers, copy.body, read_s)
                self._reach.answered()
            except NotSentError:
                self._reach.not_sent(copy.attempt)
            except NoAnswerError as error:
                log.debug("boto3 repeats %s: %s", operation, error)
        if answer is None or answer.status != HTTPStatus.OK:
            return None
        # It may be the page of a proxy, say; boto3 repeats the call.
        with suppress(ValueError, TypeError, RecursionError):
            headers = {name.lower(): value for name, value in answer.headers}
            return {**json.loads(answer.body), "ResponseMetadata": {"HTTPHeaders": headers}}
        return None

    def rescued(self, succeeded: bool) -> None:
        """Record that boto3 has made a call in place of awscrt."""
        if self._reach.rescued(succeeded=succeeded):
            log.warning(
                "boto3 makes the calls to %s for %d s, because it gets through where awscrt does "
                "not",
                self._client.meta.endpoint_url,
                PAUSE_S,
            )

    # ---- what boto3 decides ----

    def _copy(self, operation: str, kind: Hashable, ask: Ask, body: bytes) -> _Copy | _Made | None:
        """Return a signed call; None: boto3 has to make it."""
        if self._why_not or (attempt := self._reach.attempt()) is None:
            return None
        credentials = self._credentials()
        key = (operation, kind, credentials.token is None)
        template: Template | _Made | None = self._templates.get(key)
        if template is None:
            with self._catching:
                template = self._templates.get(key) or self._new_template(
                    key, operation, ask, credentials
                )
        if template is None or isinstance(template, _Made):
            return template
        return _Copy(template, template.request_headers(body, credentials), body, attempt)

    def _new_template(
        self, key: Hashable, operation: str, ask: Ask, credentials: Credentials
    ) -> Template | _Made | None:
        """Return what calls of a kind are copied from."""
        request = self._caught(operation, ask)
        if isinstance(request, _Made):
            self._stop("something else answers its calls")
            return request
        # They may have been refreshed while boto3 signed.
        for own in (credentials, self._credentials()):
            if template := Template.of(request, own):
                if len(self._templates) >= MOST_TEMPLATES:
                    del self._templates[next(iter(self._templates))]
                self._templates[key] = template
                return template
            if own.access_key in str(request.headers.get("Authorization")):
                self._stop("boto3 signs its requests in another way")
                return None
        return None  # boto3 makes this call; the next one is tried again.

    def _caught(self, operation: str, ask: Ask) -> Any:  # noqa: ANN401 - an AWSPreparedRequest
        """Return the request that boto3 makes for a call; it is not sent.

        If the request does not come by, boto3 sends it: then return what was `_Made`.
        """
        caught: list[Any] = []
        caller: int | None = threading.get_ident()

        def catch(request: Any, **_: object) -> AWSResponse | None:  # noqa: ANN401 - see above
            # It may still be called after it was unregistered: botocore keeps what it looked up.
            if threading.get_ident() != caller:
                return None
            caught.append(request)
            raise _Caught

        events = self._client.meta.events
        events.register_first(self._event(operation), catch)
        try:
            return _Made(ask(self._client))
        except _Caught:
            return caught[0]
        finally:
            caller = None
            events.unregister(self._event(operation), catch)

    def _credentials(self) -> Credentials:
        found = self._session.get_credentials()
        if found is None:
            raise NoCredentialsError
        frozen = found.get_frozen_credentials()
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token)

    def _to(self, url: str) -> Connections | None:
        """Return the connections to the endpoint of a URL; None: awscrt cannot make them."""
        try:
            return self._ways.connections(url)
        except Exception as error:  # noqa: BLE001 - awscrt raises many, about certificates
            self._stop(f"awscrt cannot be set up: {error}")
            return None

    # ---- answers ----

    def _event(self, operation: str) -> str:
        return f"before-send.{self._client.meta.service_model.service_id.hyphenize()}.{operation}"

    def _answer_of_a_listener(self, operation: str, copy: _Copy) -> Answer | None:
        """Notify what listens to boto3's calls (moto, tracers), which may answer this one."""
        headers: Any = HeadersDict(copy.headers)  # The stubs want another class.
        request = AWSPreparedRequest(
            copy.template.method, copy.template.url, headers, copy.body, stream_output=False
        )
        _, answer = self._client.meta.events.emit_until_response(
            self._event(operation), request=request
        )
        if answer is None:
            return None
        return Answer(answer.status_code, list(answer.headers.items()), answer.content)

    def _error(self, operation: str, attempt: int, outcome: Outcome) -> Exception | None:
        """Return the error that an outcome is; boto3 reads the code and the message of AWS's."""
        if isinstance(outcome, NotSentError):
            self._reach.not_sent(attempt)
        if not isinstance(outcome, Answer):
            return outcome
        self._reach.answered()
        answer = outcome
        if answer.status < HTTPStatus.MULTIPLE_CHOICES:
            return None
        model = self._client.meta.service_model
        parsed: Any = create_parser(model.metadata["protocol"]).parse(
            {
                "status_code": answer.status,
                "headers": HeadersDict(answer.headers),
                "body": answer.body,
            },
            model.operation_model(operation).output_shape,
        )
        return ClientError(parsed, operation)

    def _stop(self, reason: str) -> None:
        self._why_not = reason
        _say(self._client.meta.endpoint_url, reason)


@functools.cache
def _why_missing() -> str | None:
    """Return why there is no awscrt, and log it once; None: there is."""
    if WHY_MISSING:
        log.info(
            "boto3 makes all calls to AWS, which takes several times the processor time of awscrt "
            "(%s): pip install 'airflow-lambda-executor[native]'",
            WHY_MISSING,
        )
    return WHY_MISSING


@functools.lru_cache(maxsize=64)
def _say(endpoint_url: str, reason: str) -> None:
    """Log once why boto3 makes the calls, although clients are made again and again."""
    log.warning("boto3 makes the calls to %s: %s", endpoint_url, reason)


class _Caught(BaseException):
    """Ends a call of boto3 before it is sent; botocore handles every `Exception` in its own way."""
