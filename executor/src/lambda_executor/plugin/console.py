"""The addresses of AWS's console. Pure."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

#: The console's host, by the beginning of a Region's name; other partitions have other hosts.
#: https://docs.aws.amazon.com/general/latest/gr/rande.html
_HOSTS = {
    "cn-": "console.amazonaws.cn",
    "us-gov-": "console.amazonaws-us-gov.com",
}
_HOST = "console.aws.amazon.com"


def function_page(region: str, function: str) -> str:
    """Return the address of a function's page."""
    return f"{_console(region, 'lambda')}#/functions/{quote(function, safe='')}"


def log_page(region: str, group: str, id: str, since: datetime | None) -> str:
    """Return the address of the lines of a log group with an id, from some time on."""
    words = quote('"' + id + '"', safe="")
    start = f"&start={int(since.timestamp() * 1000)}" if since else ""
    query = f"?filterPattern={words}{start}"
    # AWS does not document it: what is in the console's fragment is encoded twice, with $ for %.
    name, events = (_twice(group), _once(query))
    return f"{_console(region, 'cloudwatch')}#logsV2:log-groups/log-group/{name}/log-events{events}"


def _console(region: str, service: str) -> str:
    host = next((host for start, host in _HOSTS.items() if region.startswith(start)), _HOST)
    return f"https://{region}.{host}/{service}/home?region={region}"


def _once(text: str) -> str:
    return quote(text, safe="").replace("%", "$")


def _twice(text: str) -> str:
    return quote(quote(text, safe=""), safe="").replace("%", "$")
