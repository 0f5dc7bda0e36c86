"""`make preflight`: what a stage takes, compared with recorded quotas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError

from prove import report
from prove.needs import Needs, added_up
from prove.place import Place
from prove.preflight import Finding, Verdict, preflight

#: What `dev` may take.
NEEDS = Needs(4, 8, 0, 0, elastic_ips=1, vpcs=1, reserved=0, parallelism=32)


class Account:
    """A session of boto3 in an account with these quotas; None: it may not be read."""

    def __init__(self, *, vcpus: float | None = 16, concurrency: int = 1000, vpcs: int = 1) -> None:
        self.quotas = {"fargate": vcpus, "ec2": 5.0, "vpc": 5.0}
        self.limits = {
            "ConcurrentExecutions": concurrency,
            "UnreservedConcurrentExecutions": concurrency,
        }
        self.vpcs = vpcs
        self.stacks: list[Mapping[str, Any]] = []

    def client(self, _service: str) -> Account:
        """All services are here."""
        return self

    def get_paginator(self, _operation: str) -> Account:
        """The pages of the stacks."""
        return self

    def paginate(self) -> list[Mapping[str, Any]]:
        """One page."""
        return [{"Stacks": self.stacks}]

    def get_service_quota(self, *, ServiceCode: str, QuotaCode: str) -> Any:  # noqa: N803
        """Service Quotas."""
        assert QuotaCode.startswith("L-")
        value = self.quotas[ServiceCode]
        if value is None:
            error = {"Code": "NoSuchResourceException", "Message": "not found"}
            raise ClientError({"Error": error}, "GetServiceQuota")  # type: ignore[typeddict-item]
        return {"Quota": {"Value": value}}

    def get_account_settings(self) -> Any:
        """Lambda."""
        return {"AccountLimit": self.limits}

    def describe_addresses(self) -> Any:
        """EC2."""
        return {"Addresses": []}

    def describe_vpcs(self) -> Any:
        """EC2."""
        return {"Vpcs": [{}] * self.vpcs}


def findings(account: Account, needs: Needs = NEEDS) -> dict[str, Finding]:
    """The findings by the quota's code, without `L-`."""
    here = Place("dev", None, account)  # type: ignore[arg-type] # it reads no configuration
    return {finding.quota.code[2:]: finding for finding in preflight(here, needs)}


def verdicts(account: Account, needs: Needs = NEEDS) -> dict[str, Verdict]:
    """The verdicts by the quota's code."""
    return {code: finding.verdict for code, finding in findings(account, needs).items()}


def test_enough_of_everything() -> None:
    """Each of the four quotas has a line."""
    assert set(verdicts(Account()).values()) == {Verdict.OK}
    assert list(verdicts(Account())) == ["3032A538", "B99A9384", "0263D0A3", "F678F1CE"]


@pytest.mark.parametrize(
    ("vcpus", "verdict"), [(3, Verdict.PROBLEM), (6, Verdict.SLOW), (8, Verdict.OK)]
)
def test_vcpus_count_during_a_deploy_too(vcpus: float, verdict: Verdict) -> None:
    """Too few for the stage is a problem; too few to replace it at once is slow."""
    found = findings(Account(vcpus=vcpus))["3032A538"]
    assert found.verdict is verdict
    assert ("--desired-value 8" in found.fix) is (verdict is not Verdict.OK)


def test_what_cannot_be_read_is_named_and_not_guessed() -> None:
    """It is unknown, with AWS's own words and the command that asks for it."""
    found = findings(Account(vcpus=None))["3032A538"]
    assert found.verdict is Verdict.UNKNOWN
    assert "cannot be read" in found.detail
    assert "NoSuchResourceException" in found.detail
    assert "get-service-quota --service-code fargate --quota-code L-3032A538" in found.fix


def test_a_new_account_runs_ten_functions_at_once() -> None:
    """The rest waits in Airflow; a reservation is refused."""
    new = Account(concurrency=10)
    assert verdicts(new)["B99A9384"] is Verdict.SLOW
    reserving = Needs(4, 8, 0, 0, elastic_ips=1, vpcs=1, reserved=1, parallelism=32)
    assert verdicts(new, reserving)["B99A9384"] is Verdict.PROBLEM


def test_a_full_account_has_no_room_for_a_vpc() -> None:
    """But a stage that is deployed already needs no other one."""
    full = Account(vpcs=5)
    assert verdicts(full)["F678F1CE"] is Verdict.PROBLEM
    full.stacks = [{"StackName": "airflow-lambda-dev-network", "StackStatus": "CREATE_COMPLETE"}]
    assert verdicts(full)["F678F1CE"] is Verdict.OK


def test_the_findings_fit_a_terminal() -> None:
    """Only the commands are longer than 80 columns, because they are to be copied."""
    found = list(findings(Account(vcpus=3, concurrency=10, vpcs=5)).values())
    lines = list(report.findings_table(found))
    assert max(len(line) for line in lines if " aws " not in line) <= 80


@pytest.mark.parametrize(
    ("needs", "most"),
    [({}, 3.5), ({"Rolling": "Two"}, 3.0), ({"Rolling": ["Role"], "Role": ["Two"]}, 3.0)],
)
def test_needs_are_added_up(needs: Mapping[str, Any], most: float) -> None:
    """Each service counts with its task's size, on Spot apart; reservations count too.

    A deploy replaces services at the same time, unless one of them needs the other.
    """
    task = {"Type": "AWS::ECS::TaskDefinition", "Properties": {"Cpu": "512"}}

    def service(count: int, **more: Any) -> dict[str, Any]:
        values = {"DesiredCount": count, "TaskDefinition": {"Ref": "Task"}, **more}
        return {"Type": "AWS::ECS::Service", "Properties": values}

    resources: dict[str, dict[str, Any]] = {
        "Task": task,
        "Role": {"Type": "AWS::IAM::Role"},
        "Two": service(2),
        "Rolling": service(2, DeploymentConfiguration={"MaximumPercent": 150}),
        "Spot": service(1, CapacityProviderStrategy=[{"CapacityProvider": "FARGATE_SPOT"}]),
        "Vpc": {"Type": "AWS::EC2::VPC"},
        "Address": {"Type": "AWS::EC2::EIP"},
        "Function": {
            "Type": "AWS::Lambda::Function",
            "Properties": {"ReservedConcurrentExecutions": 8},
        },
    }
    for name, others in needs.items():
        resources[name]["DependsOn"] = others
    assert added_up([{"Resources": resources}], 32) == Needs(
        2.0, most, 0.5, 1.0, elastic_ips=1, vpcs=1, reserved=8, parallelism=32
    )


@pytest.mark.parametrize(
    ("reserved", "warm", "takes"), [(8, 0, 8), (8, 5, 8), (0, 5, 5), (0, 0, 0)]
)
def test_what_is_kept_warm_counts_within_the_reservation(
    reserved: int, warm: int, takes: int
) -> None:
    """Of each function the larger counts; two functions add up."""
    function = {"Type": "AWS::Lambda::Function", "Properties": {}}
    reserving = {"ReservedConcurrentExecutions": reserved} if reserved else {}
    config = {"ProvisionedConcurrentExecutions": warm}
    alias: dict[str, Any] = {"FunctionName": {"Ref": "Warm"}}
    alias |= {"ProvisionedConcurrencyConfig": config} if warm else {}
    resources = {
        "Live": {"Type": "AWS::Lambda::Alias", "Properties": alias},
        "Warm": function | {"Properties": reserving},
        "Other": function | {"Properties": {"ReservedConcurrentExecutions": 3}},
        "Plain": function,
    }
    assert added_up([{"Resources": resources}], 32).reserved == takes + 3
