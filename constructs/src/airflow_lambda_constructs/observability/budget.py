"""The monthly budget of an environment."""

from __future__ import annotations

from aws_cdk import aws_budgets as budgets
from constructs import Construct


class MonthlyBudget(Construct):
    """A budget for all resources with one tag, which warns by mail.

    It counts nothing until the tag, a key and a value, is activated as a cost allocation tag
    (docs/howto/runbook.md#budget).
    """

    def __init__(
        self, scope: Construct, id: str, *, limit_usd: int, tag: tuple[str, str], email: str
    ) -> None:
        super().__init__(scope, id)
        key, value = tag
        subscriber = budgets.CfnBudget.SubscriberProperty(subscription_type="EMAIL", address=email)
        budgets.CfnBudget(
            self,
            "Budget",
            # Without a name: new notifications replace the budget, and names are unique.
            budget=budgets.CfnBudget.BudgetDataProperty(
                budget_type="COST",
                time_unit="MONTHLY",
                budget_limit=budgets.CfnBudget.SpendProperty(amount=limit_usd, unit="USD"),
                # https://docs.aws.amazon.com/cost-management/latest/userguide/budgets-create-filters.html
                cost_filters={"TagKeyValue": [f"user:{key}${value}"]},
            ),
            notifications_with_subscribers=[
                budgets.CfnBudget.NotificationWithSubscribersProperty(
                    notification=budgets.CfnBudget.NotificationProperty(
                        notification_type=type_,
                        comparison_operator="GREATER_THAN",
                        threshold=threshold,
                        threshold_type="PERCENTAGE",
                    ),
                    subscribers=[subscriber],
                )
                # The forecast comes while people can still act.
                for type_, threshold in (("FORECASTED", 100), ("ACTUAL", 80), ("ACTUAL", 100))
            ],
        )
