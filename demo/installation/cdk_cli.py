"""The real CDK CLI, pointed at the embedded AWS: synth, bootstrap, deploy, destroy."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo import paths
from demo.installation.outside_world import empty_buckets
from demo.machine.embedded_aws import ACCOUNT, EmbeddedAws, bare_environment, download_settings
from demo.machine.processes import Child, Children, Program

SYNTH_TIMEOUT_S = 300.0
BOOTSTRAP_TIMEOUT_S = 300.0
#: Includes the download of the image's packages.
DEPLOY_TIMEOUT_S = 900.0
DESTROY_TIMEOUT_S = 300.0
#: The stack of `cdk bootstrap`, which `cdk destroy` does not delete.
BOOTSTRAP_STACK = "CDKToolkit"

_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
Detail = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Cdk:
    """The CLI, with one cloud assembly for all calls."""

    children: Children
    home: paths.Home
    stage: str = "local"
    plugins: Path | None = None

    def start_synth(self, override: Mapping[str, Any]) -> Child:
        """Start to synthesise the stage; `override` is merged into its configuration."""
        # In a file, because it may hold secrets, and every user of a machine sees its arguments.
        file = self.home.path / "override.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(override))
        return self.children.start(
            self._program(
                *("synth", "--quiet", "--output", str(self.home.assembly)),
                *("--context", f"stage={self.stage}"),
                *("--context", f"override=@{file}"),
                name="cdk-synth",
            )
        )

    def bootstrap(self, aws: EmbeddedAws, detail: Detail) -> None:
        """Bootstrap the account.

        Raises:
            ProcessError: The command failed or took too long.
        """
        self._run(aws, detail, BOOTSTRAP_TIMEOUT_S, "bootstrap", f"aws://{ACCOUNT}/{aws.region}")

    def deploy(self, aws: EmbeddedAws, detail: Detail) -> dict[str, str]:
        """Deploy every stack, including the image, and return the outputs of all stacks.

        Raises:
            ProcessError: The command failed or took too long.
        """
        outputs = self.home.path / "outputs.json"
        options = ("--require-approval", "never", "--outputs-file", str(outputs))
        self._run(aws, detail, DEPLOY_TIMEOUT_S, "deploy", "--all", *options)
        by_stack: dict[str, dict[str, str]] = json.loads(outputs.read_text())
        return {key: value for stack in by_stack.values() for key, value in stack.items()}

    def destroy(self, aws: EmbeddedAws, detail: Detail) -> None:
        """Destroy every stack.

        Raises:
            ProcessError: The command failed or took too long.
        """
        self._run(aws, detail, DESTROY_TIMEOUT_S, "destroy", "--all", "--force")

    def deploy_app(self, aws: EmbeddedAws, app: Path, detail: Detail) -> None:
        """Deploy every stack of another app, which is a Python file.

        Raises:
            ProcessError: The command failed or took too long.
        """
        output = ("--output", str(self._assembly_of(app)))
        command = (shlex.join([str(paths.PYTHON), str(app)]), *output)
        options = ("--all", "--require-approval", "never")
        self._run(aws, detail, DEPLOY_TIMEOUT_S, "deploy", *options, app=command)

    def destroy_app(self, aws: EmbeddedAws, app: Path, detail: Detail) -> None:
        """Destroy every stack of another app, with what is in their buckets.

        Raises:
            ProcessError: The command failed or took too long.
        """
        assembly = self._assembly_of(app)
        for template in assembly.glob("*.template.json"):
            empty_buckets(aws, template.name.removesuffix(".template.json"))
        options = ("--all", "--force")
        self._run(aws, detail, DESTROY_TIMEOUT_S, "destroy", *options, app=(str(assembly),))

    def _assembly_of(self, app: Path) -> Path:
        return self.home.path / f"cdk.out-{app.parent.name}"

    def _run(
        self,
        aws: EmbeddedAws,
        detail: Detail,
        timeout_s: float,
        verb: str,
        *arguments: str,
        app: tuple[str, ...] | None = None,
    ) -> None:
        name = f"cdk-{verb}" if app is None else f"cdk-{verb}-app"
        chosen = ("--app", *(app or (str(self.home.assembly),)))
        program = self._program(verb, *arguments, *chosen, name=name, aws=aws)
        log = self.home.logs / f"{program.name}.log"
        self.children.run(program, timeout_s, watch=lambda: detail(_last_line(log)))

    def _program(self, *arguments: str, name: str, aws: EmbeddedAws | None = None) -> Program:
        return Program(
            name=name,
            argv=[paths.CDK, *arguments, "--no-notices", "--no-color", "--ci"],
            environment=bare_environment()
            | (
                download_settings() | variables(aws, self.home, self.plugins)
                if aws
                else _own_variables(self.home)
            ),
            cwd=paths.ROOT,
        )


def variables(aws: EmbeddedAws, home: paths.Home, plugins: Path | None = None) -> dict[str, str]:
    """Variables that make `cdk` deploy to the embedded AWS, in `home`, and build images for it."""
    builder = [
        *("env", f"--chdir={paths.ROOT}"),
        *(str(paths.PYTHON), "-m", "demo.machine.stand_in_image"),
        # Shared with the UI like a mounted file system, for the tasks' logs.
        *("--env", f"AIRFLOW__LOGGING__BASE_LOG_FOLDER={home.task_logs}"),
    ]
    if plugins:
        builder += ["--read-only", f"AIRFLOW__CORE__PLUGINS_FOLDER={plugins}"]
    return (
        aws.environment()
        | _own_variables(home)
        | {
            "CDK_DEFAULT_ACCOUNT": ACCOUNT,
            "CDK_DEFAULT_REGION": aws.region,
            "CDK_DOCKER": str(paths.STAND_IN_DOCKER),
            "LOCAL_AWS_STATE_DIR": str(home.aws),
            "LOCAL_AWS_PYTHON": str(paths.LOCAL_AWS_PYTHON),
            "LOCAL_AWS_IMAGE_BUILDER": shlex.join(builder),
        }
    )


def _own_variables(home: paths.Home) -> dict[str, str]:
    """Variables about the CLI itself."""
    return {
        "AWS_EC2_METADATA_DISABLED": "true",
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        # Its warnings are about the CLI's own code: nobody here can act on them.
        "NODE_NO_WARNINGS": "1",
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "20",
        # The CLI caches which key belongs to which account.
        "CDK_HOME": str(home.path / "cdk-home"),
    }


def _last_line(log: Path) -> str:
    """The last line of a log that is not empty."""
    try:
        lines = _ANSI.sub("", log.read_text(errors="replace")).splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
