"""What tells people how the stage fares."""

from __future__ import annotations

from pydantic import Field

from stacks.config.sections.section import Section


class ObservabilityConfig(Section):
    """Dashboard, alarms and budget."""

    dashboard: bool = Field(
        False, description="Whether there is a CloudWatch dashboard and the alarms."
    )
    alarm_email: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$",
        description="Whom the alarms are mailed to, after a confirmation; null: nobody.",
        examples=["oncall@example.com"],
    )
    runbook_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s#]+$",
        max_length=512,
        description="Where your people read the runbook, for the links in the alarms; null: its "
        "path in this repository, docs/howto/runbook.md.",
        examples=["https://github.com/example/airflow-lambda/blob/main/docs/howto/runbook.md"],
    )
    budget_usd_month: int | None = Field(
        None,
        ge=1,
        description="What the stage may cost a month, in US dollars, before a mail is sent; null: "
        "no budget.",
    )

    @property
    def wanted(self) -> bool:
        """Whether there is anything to build."""
        return self.dashboard or self.budget_usd_month is not None
