"""The CDK app: reads the configuration of one stage and builds its stacks; no AWS call is made.

`cdk synth -c stage=<stage>`; what a stage may say: docs/reference/stage-config.md.
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
    if stage is None:  # Perhaps a typing error: the CLI takes any -c NAME=VALUE without a word.
        stage = DEFAULT_STAGE
        sys.stderr.write(f"No -c stage=<name> is given: this is the stage {stage}.\n")
    try:
        config = load(
            app.node.try_get_context("stages"), stage, app.node.try_get_context("override")
        )
        build(app, stage, config, root=Path(__file__).parent)
    except StageConfigError as e:
        sys.exit(f"\n{e}\n")
    app.synth()


if __name__ == "__main__":
    main()
