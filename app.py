"""The CDK app: it reads the configuration of one stage and builds its stacks, without AWS calls.

`cdk synth -c stage=<stage>`; the settings of a stage: docs/reference/stage-config.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import aws_cdk as cdk

from stacks.composition import build
from stacks.config.loading import StageConfigError, load

DEFAULT_STAGE = "dev"


def main() -> None:
    """Synthesize the chosen stage into the folder that the CDK CLI asks for."""
    app = cdk.App()
    stage = app.node.try_get_context("stage")
    if stage is None:  # The CLI silently accepts a misspelt -c NAME=VALUE.
        stage = DEFAULT_STAGE
        known = ", ".join(app.node.try_get_context("stages") or ())
        sys.stderr.write(
            f"No -c stage=<name> is given: using the stage {stage}; allowed are {known}.\n"
        )
    try:
        override = _read(app.node.try_get_context("override"))
        config = load(app.node.try_get_context("stages"), stage, override)
        build(app, stage, config, root=Path(__file__).parent)
    except StageConfigError as e:
        sys.exit(f"\n{e}\n")
    app.synth()


def _read(override: object) -> object:
    """Read the file that an override of the form `@<path>` names; others stay as they are.

    Raises:
        StageConfigError: The file cannot be read.
    """
    if not isinstance(override, str) or not override.startswith("@"):
        return override
    try:
        return Path(override[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        raise StageConfigError(
            f"-c override={override!r} cannot be read ({e}), allowed after the @ is the path of a "
            "JSON file: correct it"
        ) from None


if __name__ == "__main__":
    main()
