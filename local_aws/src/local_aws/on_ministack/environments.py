"""What execution environments consist of: the image's command, Lambda's variables, a stream."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from local_aws.images.store import Image, ImageStore, image_name
from local_aws.lambda_service.credentials import Credentials
from local_aws.lambda_service.environment_log import EnvironmentLog, stream_name
from local_aws.lambda_service.execution_environment import ExecutionEnvironment
from local_aws.lambda_service.model import FunctionVersion
from local_aws.lambda_service.snapshots import Parts
from local_aws.on_ministack.file_systems import FileSystems
from local_aws.on_ministack.log_streams import function_stream
from local_aws.on_ministack.role_sessions import role_session
from local_aws.sandbox.sandbox import Confinement, RuntimeCommand, Sandbox


def session_of(function: FunctionVersion) -> dict[str, str]:
    """A session of a function's execution role, as environment variables."""
    return role_session(function.role, function.name)


class Environments:
    """Makes environments from the image store; `client_variables` point them at this AWS."""

    def __init__(
        self,
        images: ImageStore,
        client_variables: Mapping[str, str],
        confinement: Confinement,
        file_systems: FileSystems,
    ) -> None:
        self._images = images
        self._client_variables = client_variables
        self._confinement = confinement
        self._file_systems = file_systems
        #: The certificate that the functions' clients read.
        self._trusted = [Path(p) for p in [client_variables.get("AWS_CA_BUNDLE")] if p]

    def start(
        self, function: FunctionVersion, tenant_id: str, *, provisioned: bool
    ) -> ExecutionEnvironment:
        """Start an environment that has its own init phase."""
        stream = stream_name(function.version)
        variables = {
            **session_of(function),
            "AWS_LAMBDA_INITIALIZATION_TYPE": (
                "provisioned-concurrency" if provisioned else "on-demand"
            ),
            "AWS_LAMBDA_LOG_GROUP_NAME": function.log_group,
            "AWS_LAMBDA_LOG_STREAM_NAME": stream,
        }
        return ExecutionEnvironment(
            function,
            tenant_id,
            Sandbox(self._command(function, variables), self._confinement),
            EnvironmentLog(function, function_stream(function, stream)),
        )

    def parts(self, function: FunctionVersion, token: str) -> Parts:
        """The parts of an environment of a snapshot, whose credentials are served for the token.

        What would be the same in every environment is not in the variables:
        https://docs.aws.amazon.com/lambda/latest/dg/snapstart-activate.html and
        https://docs.aws.amazon.com/lambda/latest/dg/snapstart-monitoring.html
        """
        variables = {
            "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": token,
        }
        return Parts(
            self._command(function, variables),
            EnvironmentLog(function, function_stream(function, stream_name(function.version))),
            Credentials(token, partial(session_of, function)),
        )

    def _command(self, function: FunctionVersion, more: Mapping[str, str]) -> RuntimeCommand:
        image = Image.read(self._images.find(image_name(function.image_uri)))
        argv = [*image.entry_point, *(function.command or image.command)]
        variables = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "en_US.UTF-8",
            "TZ": ":UTC",
            **image.variables,
            **function.variables,
            **more,
            "AWS_REGION": function.region,
            "AWS_DEFAULT_REGION": function.region,
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": function.version,
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
            "AWS_LAMBDA_LOG_FORMAT": function.log_format,
            **({"AWS_LAMBDA_LOG_LEVEL": function.log_level} if function.log_level else {}),
            "_HANDLER": argv[-1],
            "LAMBDA_TASK_ROOT": image.working_directory,
            **self._client_variables,
        }
        return RuntimeCommand(
            argv,
            Path(image.working_directory),
            variables,
            memory_mb=function.memory_mb,
            tmp_mb=function.tmp_mb,
            readable=(*image.readable, *self._trusted),
            writable=image.writable,
            mounts=self._file_systems.of_function(function),
        )
