"""A deploy of a running environment after its stage was changed."""

from __future__ import annotations

from collections.abc import Mapping

from demo.installation.cdk_cli import SYNTH_TIMEOUT_S
from demo.installation.environment import Environment


def redeploy(here: Environment, **sections: Mapping[str, object]) -> None:
    """Synthesise and deploy again while Airflow runs, as a user does after a change.

    The given sections replace those of the first deploy's configuration.
    """
    changed = {**here._override}
    for name, section in sections.items():
        changed[name] = {**changed.get(name, {}), **section}
    here.cloud.finish(here._cdk.start_synth(changed), SYNTH_TIMEOUT_S)
    here.outputs = here._cdk.deploy(here.aws, lambda _line: None)
