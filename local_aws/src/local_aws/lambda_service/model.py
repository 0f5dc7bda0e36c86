"""Plain values: a function version, one invocation of it, and how that ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

LATEST = "$LATEST"


@dataclass(frozen=True, slots=True)
class FunctionKey:
    """A function's identity across accounts and Regions."""

    account: str
    region: str
    name: str


@dataclass(frozen=True, slots=True)
class FunctionVersion:
    """One version of one function, as its execution environments see it.

    Attributes:
        revision: Changes with every change of code or configuration.
        image_uri: The container image, by digest if it is known.
        role: ARN of the execution role.
        tmp_mb: Size of /tmp (`EphemeralStorage`).
        log_format: `Text` or `JSON`.
        log_level: The runtime's log level with `JSON`; empty: its default.
        command: `ImageConfig.Command`, which replaces the image's own handler.
        dead_letter_arn: The dead-letter queue; empty: none.
        snap_start: Whether its environments come from a snapshot.
        file_systems: The ARN of each access point that it mounts, and where.
    """

    account: str
    region: str
    name: str
    version: str
    revision: str
    image_uri: str
    role: str
    timeout_s: int
    memory_mb: int
    tmp_mb: int
    variables: Mapping[str, str]
    log_group: str
    log_format: str
    log_level: str = ""
    command: tuple[str, ...] = ()
    dead_letter_arn: str = ""
    snap_start: bool = False
    file_systems: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_configuration(cls, configuration: Mapping[str, Any]) -> FunctionVersion:
        """Read a function's configuration in the shape of GetFunctionConfiguration."""
        account, region = configuration["FunctionArn"].split(":")[4:2:-1]
        logging = configuration.get("LoggingConfig") or {}
        name = configuration["FunctionName"]
        image = (configuration.get("ImageConfigResponse") or {}).get("ImageConfig") or {}
        return cls(
            account=account,
            region=region,
            name=name,
            version=configuration.get("Version") or LATEST,
            revision=configuration.get("RevisionId") or "",
            image_uri=configuration.get("ResolvedImageUri") or configuration["ImageUri"],
            role=configuration.get("Role") or "",
            timeout_s=int(configuration.get("Timeout") or 3),
            memory_mb=int(configuration.get("MemorySize") or 128),
            tmp_mb=int((configuration.get("EphemeralStorage") or {}).get("Size") or 512),
            variables=(configuration.get("Environment") or {}).get("Variables") or {},
            log_group=logging.get("LogGroup") or f"/aws/lambda/{name}",
            log_format=logging.get("LogFormat") or "Text",
            log_level=logging.get("ApplicationLogLevel") or "",
            command=tuple(image.get("Command") or ()),
            dead_letter_arn=(configuration.get("DeadLetterConfig") or {}).get("TargetArn") or "",
            snap_start=(configuration.get("SnapStart") or {}).get("OptimizationStatus") == "On",
            file_systems=tuple(
                (config["Arn"], config["LocalMountPath"])
                for config in configuration.get("FileSystemConfigs") or ()
            ),
        )

    @property
    def function_key(self) -> FunctionKey:
        """The function; its versions share reserved concurrency and event queue."""
        return FunctionKey(self.account, self.region, self.name)

    @property
    def arn(self) -> str:
        """The unqualified ARN."""
        return f"arn:aws:lambda:{self.region}:{self.account}:function:{self.name}"


def snap_start_refusal(properties: Mapping[str, Any]) -> str | None:
    """Why Lambda makes no snapshots of a function with these properties; None: it does.

    https://docs.aws.amazon.com/lambda/latest/dg/snapstart.html#snapstart-runtimes
    """
    if (properties.get("SnapStart") or {}).get("ApplyOn") != "PublishedVersions":
        return None
    if (properties.get("TenancyConfig") or {}).get("TenantIsolationMode") == "PER_TENANT":
        return "SnapStart is not supported for functions with tenant isolation."
    if int((properties.get("EphemeralStorage") or {}).get("Size") or 0) > 512:  # noqa: PLR2004 - MB
        return "SnapStart is not supported with ephemeral storage greater than 512 MB."
    if properties.get("FileSystemConfigs"):
        return "SnapStart is not supported with a file system."
    return None


@dataclass(frozen=True, slots=True)
class InvokeRequest:
    """One invocation, as its handler receives it.

    Attributes:
        payload: The event's JSON.
        invoked_arn: The ARN as the caller wrote it, with alias or version.
        tenant_id: Empty unless the function isolates its tenants.
    """

    request_id: str
    payload: bytes
    invoked_arn: str
    tenant_id: str = ""


@dataclass(frozen=True, slots=True)
class InvokeResponse:
    """How an invocation ended.

    Attributes:
        payload: The response, or the error's JSON object.
        failed: Whether the function failed (`X-Amz-Function-Error: Unhandled`).
        reason: The reason of a failure; empty after success.
        runtime_usable: Whether the runtime may serve again; if not, a new one is started.
    """

    payload: bytes
    failed: bool = False
    reason: str = ""
    log_tail: str = ""
    runtime_usable: bool = True
