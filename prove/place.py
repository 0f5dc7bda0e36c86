"""The stage that is proved, and the account that it is in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from destroy import described
from stacks.config import StageConfig
from stacks.stage.names import prefix

ROOT = Path(__file__).parents[1]
#: Where the logs of the commands, the DAG files and the results go.
FOLDER = ROOT / "build" / "prove"
#: The DAG files that the plan runs, from the folder of cdk.json.
DAGS = (FOLDER / "dags").relative_to(ROOT)


class NotSeenError(Exception):
    """A step did not show what it must; the message says what was seen instead."""


@dataclass(frozen=True, slots=True)
class Place:
    """One stage in one account and Region.

    Attributes:
        session: A session of boto3; None: nothing is asked, for a dry run.
        is_embedded: Whether the account is the embedded AWS of `make local-aws`.
        email: Where the alarms go; empty: to nobody.
        certificate_arn: A certificate of ACM for `domain_name`; both are empty if there is none.
    """

    stage: str
    config: StageConfig
    session: Any
    account: str = "<account>"
    region: str = "<region>"
    is_embedded: bool = False
    email: str = ""
    certificate_arn: str = ""
    domain_name: str = ""

    @property
    def prefix(self) -> str:
        """The names of the stage begin with it."""
        return prefix(self.stage)

    @property
    def has_airflow(self) -> bool:
        """Whether the stage has an Airflow of its own."""
        return self.config.control_plane.kind != "none"

    def client(self, service: str) -> Any:
        """Return a client of boto3."""
        return self.session.client(service)

    def stacks(self) -> list[dict[str, Any]]:
        """Return CloudFormation's descriptions of the stage's stacks, without nested ones."""
        return described(self.client("cloudformation"), self.stage)

    def outputs(self) -> dict[str, str]:
        """Return the outputs of the stage's stacks, by name."""
        return {
            output["OutputKey"]: output["OutputValue"]
            for stack in self.stacks()
            for output in stack.get("Outputs", ())
        }

    def version(self) -> str:
        """Return the version of the default function that invocations run."""
        outputs = self.outputs()
        alias = self.client("lambda").get_alias(
            FunctionName=outputs["FunctionName"], Name=outputs["FunctionAlias"]
        )
        return str(alias["FunctionVersion"])

    def override(self, extra: Mapping[str, Any]) -> dict[str, Any]:
        """Return what every deploy of the plan changes in the stage, and `extra` upon it."""
        base: dict[str, Any] = {
            "image": {"dags": str(DAGS)},
            "observability": {"dashboard": True},
        }
        if self.email:
            base["observability"] |= {"alarm_email": self.email, "budget_usd_month": 50}
        sections = {**base, **extra}
        return {
            name: {**base[name], **section} if name in base else section
            for name, section in sections.items()
        }
