"""`ecr:DescribeRepositories` is permitted by the repository that it names.

AWS checks it against the named repository's ARN; ministack under `--auth` looks for
`repositoryName`, which this call does not have (it has `repositoryNames`), and checks `*`, so a
role that was granted its one repository is denied.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from ministack.core import iam_actions

if TYPE_CHECKING:
    from local_aws.images.store import ImageStore


def apply(_images: ImageStore) -> None:
    """Answer for the one call, leave the rest to ministack."""
    stock = iam_actions.extract_resource_arn

    def extract_resource_arn(*request: Any) -> str:  # noqa: ANN401 - passed through
        service, _method, _path, headers, body, _query, region, account = request
        if service == "ecr" and headers.get("x-amz-target", "").endswith(".DescribeRepositories"):
            names = json.loads(body or b"{}").get("repositoryNames") or []
            if len(names) == 1:
                return f"arn:aws:ecr:{region}:{account}:repository/{names[0]}"
        return str(stock(*request))

    iam_actions.extract_resource_arn = extract_resource_arn
