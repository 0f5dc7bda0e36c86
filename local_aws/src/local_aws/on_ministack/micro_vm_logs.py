"""The logs of MicroVMs and of the builds of their images.

https://docs.aws.amazon.com/lambda/latest/dg/microvms.html: by default the log group
`/aws/lambda-microvms/<image>`, and a stream for each MicroVM.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from ministack.core.responses import get_account_id, get_region
from ministack.services import lambda_microvms

from local_aws.on_ministack.log_streams import CloudWatchStream


def log_writer(
    image: dict[str, Any], version: dict[str, Any], logging: dict[str, Any] | None, name: str
) -> Callable[[str], None]:
    """What writes a line to the log stream of `name`, as the parameter `logging` says."""
    if logging and "disabled" in logging:
        return lambda _line: None
    configured = (logging or {}).get("cloudWatch") or {}
    today = datetime.now(UTC).strftime("%Y/%m/%d")
    stream = CloudWatchStream(
        get_account_id(),
        get_region(),
        configured.get("logGroup") or f"/aws/lambda-microvms/{image['name']}",
        configured.get("logStream") or f"{today}[{version['imageVersion']}]{name}",
        lambda: lambda_microvms._images.get(image["name"]) is image,
    )

    def log(line: str) -> None:
        if line:
            stream.append([(int(time.time() * 1000), line)])

    return log
