"""`ecr:DescribeRepositories` is checked against the named repository.

ministack under `--auth` reads `repositoryName`, but this call has `repositoryNames`. It then checks
`*` and denies a role whose policy names one repository.
"""

from __future__ import annotations

import json
from typing import Any

from ministack.core import iam_actions


def apply() -> None:
    """Return the repository's ARN for this call, and leave other calls to ministack."""
    stock = iam_actions.extract_resource_arn

    def extract_resource_arn(*request: Any) -> str:  # noqa: ANN401 - passed through
        service, _method, _path, headers, body, _query, region, account = request
        if service == "ecr" and headers.get("x-amz-target", "").endswith(".DescribeRepositories"):
            names = json.loads(body or b"{}").get("repositoryNames") or []
            if len(names) == 1:
                return f"arn:aws:ecr:{region}:{account}:repository/{names[0]}"
        return str(stock(*request))

    iam_actions.extract_resource_arn = extract_resource_arn
