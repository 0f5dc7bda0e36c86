"""Dead-letter queues and on-failure and on-success destinations: records of settled events.

Like Lambda, sends as the function's execution role, so enforced permissions apply. The formats:
https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import botocore.config
import botocore.session

from local_aws.lambda_service.async_queue import Settled
from local_aws.lambda_service.environment_log import timestamp
from local_aws.lambda_service.model import FunctionVersion

#: Lambda sends the first kilobyte of an error's message.
_MAX_MESSAGE_CHARS = 1024


class Destinations:
    """Sends the records of settled events, with the `credentials` of a function's role."""

    def __init__(
        self, endpoint_url: str, credentials: Callable[[FunctionVersion], Mapping[str, str]]
    ) -> None:
        self._endpoint_url = endpoint_url
        self._credentials = credentials
        self._lock = threading.Lock()
        self._session = botocore.session.Session()
        self._clients: dict[tuple[str, str, str], Any] = {}

    def settle(self, settled: Settled) -> None:
        """Send the records that the function's configuration asks for.

        Raises:
            Exception: A target refuses its record, or its ARN is of no known service.
        """
        event = settled.event
        if settled.condition == "Success":
            if event.config.on_success_arn:
                self._send_record(event.config.on_success_arn, settled)
            return
        if event.function.dead_letter_arn:
            self._send_dead_letter(event.function.dead_letter_arn, settled)
        if event.config.on_failure_arn:
            self._send_record(event.config.on_failure_arn, settled)

    def _send_dead_letter(self, arn: str, settled: Settled) -> None:
        invocation = settled.event.invocation
        attributes = {
            "RequestID": {"DataType": "String", "StringValue": invocation.request_id},
            "ErrorCode": {"DataType": "Number", "StringValue": str(settled.status)},
        }
        if message := settled.reason[:_MAX_MESSAGE_CHARS]:
            attributes["ErrorMessage"] = {"DataType": "String", "StringValue": message}
        self._send(arn, settled.event.function, invocation.payload.decode(), attributes)

    def _send_record(self, arn: str, settled: Settled) -> None:
        event = settled.event
        record: dict[str, Any] = {
            "version": "1.0",
            "timestamp": timestamp(),
            "requestContext": {
                "requestId": event.invocation.request_id,
                "functionArn": f"{event.function.arn}:{event.function.version}",
                "condition": settled.condition,
                "approximateInvokeCount": event.attempts,
            },
            "requestPayload": json.loads(event.invocation.payload),
        }
        if event.last is not None:
            context = {"statusCode": 200, "executedVersion": event.function.version}
            if event.last.failed:
                context["functionError"] = "Unhandled"
            record["responseContext"] = context
            record["responsePayload"] = json.loads(event.last.payload or b"null")
        self._send(arn, event.function, json.dumps(record), {})

    def _send(
        self,
        arn: str,
        function: FunctionVersion,
        body: str,
        attributes: Mapping[str, Mapping[str, str]],
    ) -> None:
        _, _, service, region, account, resource = arn.split(":", 5)
        client = self._client(service, region, function)
        if service == "sqs":
            url = f"{self._endpoint_url}/{account}/{resource}"
            client.send_message(QueueUrl=url, MessageBody=body, MessageAttributes=attributes)
        elif service == "sns":
            client.publish(TopicArn=arn, Message=body, MessageAttributes=attributes)
        elif service == "lambda":
            client.invoke(FunctionName=arn, InvocationType="Event", Payload=body.encode())
        else:
            raise ValueError(f"{arn}: only queues, topics and functions are destinations here")

    def _client(self, service: str, region: str, function: FunctionVersion) -> Any:  # noqa: ANN401 - botocore makes client classes at run time
        key = (service, region, function.role)
        with self._lock:
            if key not in self._clients:
                session = self._credentials(function)
                self._clients[key] = self._session.create_client(
                    service,
                    region_name=region,
                    endpoint_url=self._endpoint_url,
                    aws_access_key_id=session["AWS_ACCESS_KEY_ID"],
                    aws_secret_access_key=session["AWS_SECRET_ACCESS_KEY"],
                    aws_session_token=session["AWS_SESSION_TOKEN"],
                    config=botocore.config.Config(
                        connect_timeout=5, read_timeout=30, max_pool_connections=32
                    ),
                )
            return self._clients[key]
