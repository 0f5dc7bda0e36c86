"""The errors that services answer, in each one's own format."""

from __future__ import annotations

import json
import uuid
from typing import Any

from ministack.core.iam_actions import access_denied_response
from ministack.core.responses import fix_error_content_type

from local_aws.fault_injection.calls import Call, Request
from local_aws.fault_injection.rules import Rule

#: ministack's: status, headers and body.
Answer = tuple[int, dict[str, str], bytes]

#: Code and status of what is throttled, by ministack's name of the service.
_THROTTLED = {
    # https://repost.aws/knowledge-center/aws-batch-requests-error
    "batch": ("TooManyRequestsException", 429),
    # https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html#API_Invoke_Errors
    "lambda": ("TooManyRequestsException", 429),
    # https://docs.aws.amazon.com/lambda/latest/dg/microvms.html and botocore's model
    "lambda-microvms": ("ThrottlingException", 429),
    # https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
    "s3": ("SlowDown", 503),
    # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
    "sqs": ("RequestThrottled", 400),
    # https://docs.aws.amazon.com/ec2/latest/devguide/ec2-api-throttling.html
    "ec2": ("RequestLimitExceeded", 503),
    # Services of the Query protocol: the first code of botocore's legacy retries, `_retry.json`.
    **dict.fromkeys(
        ("autoscaling", "cloudformation", "elasticloadbalancing", "iam", "monitoring"),
        ("Throttling", 400),
    ),
    **dict.fromkeys(("rds", "sns", "sts"), ("Throttling", 400)),
}
#: The common error of services with a JSON API, for example of ECS:
#: https://docs.aws.amazon.com/AmazonECS/latest/APIReference/request-throttling.html
_THROTTLED_ELSEWHERE = ("ThrottlingException", 400)

#: Code and status of a failure of the service itself; the codes are in botocore's models.
_FAILED = {
    "batch": ("ServerException", 500),
    "ecr": ("ServerException", 500),
    "ecs": ("ServerException", 500),
    "lambda": ("ServiceException", 500),
    "lambda-microvms": ("InternalServerException", 500),
    "logs": ("ServiceUnavailableException", 503),
    "s3": ("InternalError", 500),
    "secretsmanager": ("InternalServiceError", 500),
    "ssm": ("InternalServerError", 500),
}
#: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/CommonErrors.html
_FAILED_ELSEWHERE = ("ServiceUnavailable", 503)


def error(rule: Rule, request: Request, call: Call) -> Answer:
    """The error that a rule of these faults gives: `throttle`, `error`, `denied`, `expired`."""
    cause = f'fault "{rule.name}"'
    match rule.fault:
        case "denied":
            # In the words of the service.
            return _answer(request, call, "", "")
        case "expired":
            message = f"The security token included in the request is expired ({cause})"
            return _answer(request, call, "ExpiredTokenException", message)
        case "throttle":
            code, status = _THROTTLED.get(request.service, _THROTTLED_ELSEWHERE)
            _, headers, body = _answer(request, call, code, f"Rate exceeded ({cause})")
            if request.service == "lambda":
                # https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html: ThrottleReason
                reason = {"Reason": "CallerRateLimitExceeded"}
                body = json.dumps(json.loads(body) | reason).encode()
        case _:
            code, status = _FAILED.get(request.service, _FAILED_ELSEWHERE)
            _, headers, body = _answer(request, call, code, f"Internal failure ({cause})")
    return status, headers, body


def _answer(request: Request, call: Call, code: str, message: str) -> Answer:
    request_id = str(uuid.uuid4())
    answer: Any = access_denied_response(
        *(request.service, call.action, call.caller_arn, request_id),
        error_code=code,
        message=message,
        headers=request.headers,
        resource_arn=call.resource_arn,
    )
    status, headers, body = answer
    fix_error_content_type(request.service, status, headers)
    return status, {**headers, "x-amzn-requestid": request_id, "x-amz-request-id": request_id}, body
