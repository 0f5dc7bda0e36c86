"""`aws`: the embedded AWS alone, in the foreground, for the programs of other shells."""

from __future__ import annotations

import time

from demo import paths
from demo.installation import cdk_cli, shell_file
from demo.installation.environment import REGION, sole_use
from demo.machine import embedded_aws
from demo.machine.interrupts import interrupts_held_off, termination_as_interrupt
from demo.machine.processes import Children
from demo.screen import Screen

#: How often it is seen whether the embedded AWS still runs.
POLL_S = 1.0


def run(screen: Screen, home: paths.Home) -> int:
    """Run it until Ctrl-C.

    Raises:
        EnvironmentInUseError: It runs already.
        ProcessError: It did not start, or ended by itself.
    """
    with sole_use(home), termination_as_interrupt():
        home.make_empty()
        home.task_logs.mkdir()
        children = Children(home.logs, outlive_us=False)
        try:
            aws = embedded_aws.start(children, home, REGION)
            shell_file.write(home.shell_file, cdk_cli.variables(aws, home))
            screen.say(f"Embedded AWS: {aws.endpoint} (Region {aws.region}, key and secret: test)")
            if note := embedded_aws.missing_walls(home):
                screen.say(note)
            screen.say(f"In another shell: source {home.shell_file}")
            screen.say("Then `aws`, `cdk` and `airflow` use it. Ctrl-C ends it, with its state.")
            while not (dead := children.dead()):
                time.sleep(POLL_S)
            raise dead[0].failure("ended by itself")
        except KeyboardInterrupt:
            screen.say("The embedded AWS has ended, and what was deployed is gone.")
            return 0
        finally:
            with interrupts_held_off():
                children.end_all()
                home.shell_file.unlink(missing_ok=True)
