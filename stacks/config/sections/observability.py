"""Dashboard, alarms and budget."""

from __future__ import annotations

from pydantic import Field

from stacks.config.sections.section import Section, rule


class ObservabilityConfig(Section):
    """Dashboard, alarms and budget."""

    dashboard: bool = Field(
        False, description="Whether there are a CloudWatch dashboard and alarms."
    )
    alarm_email: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._%+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$",
        description="Address that receives the alarms once it is confirmed; null: none.",
        examples=["oncall@example.com"],
        json_schema_extra=rule("an e-mail address"),
    )
    runbook_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s#]+$",
        max_length=512,
        description="URL of your copy of the runbook, for the links in the alarms; null: its path "
        "in this repository, docs/howto/runbook.md.",
        examples=["https://github.com/example/airflow-lambda/blob/main/docs/howto/runbook.md"],
        json_schema_extra=rule("a web address without a fragment (#)"),
    )
    budget_usd_month: int | None = Field(
        None,
        ge=1,
        description="Monthly cost of the stage in US dollars at which a mail is sent; null: no "
        "budget.",
    )

    @property
    def wanted(self) -> bool:
        """Whether the stage needs the observability stack."""
        return self.dashboard or self.budget_usd_month is not None
