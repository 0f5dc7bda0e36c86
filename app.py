"""The CDK app: it reads the configuration of one stage and builds its stacks, without AWS calls.

`cdk synth -c stage=<stage>`; the settings of a stage: docs/reference/stage-config.md.
"""

from __future__ import annotations

import sys
from pathlib import Path

import aws_cdk as cdk

from lambda_executor.contract.help import with_page
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
        config = load(
            app.node.try_get_context("stages"), stage, app.node.try_get_context("override")
        )
        build(app, stage, config, root=Path(__file__).parent)
    except StageConfigError as e:
        sys.exit(f"\n{with_page(str(e))}\n")
    app.synth()


if __name__ == "__main__":
    main()
