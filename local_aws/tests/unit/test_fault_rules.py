"""Rules of faults: which calls each counts, which ones it hits, and which rules are refused."""

from __future__ import annotations

import math
from typing import Any

import pytest

from local_aws.fault_injection.faults import Faults
from local_aws.fault_injection.rules import OF_REQUESTS, OF_SENT_MESSAGES, InvalidRuleError

SEND = "sqs:SendMessage"


def a_rule(**changes: Any) -> dict[str, Any]:
    """A rule that hits every call."""
    return {"name": "a", "api": "*", "fault": "throttle", "share": 1, **changes}


def faults_of(*rules: dict[str, Any], seed: int = 7) -> Faults:
    """These rules in force."""
    faults = Faults({"lambda", "sqs", "s3"})
    faults.replace({"seed": seed, "rules": list(rules)})
    return faults


def hits(faults: Faults, count: int = 1, api: str = SEND, by: str = "") -> list[bool]:
    """Which of this many calls are hit."""
    calls = (faults.hit(api, OF_REQUESTS, "tasks-results", by) for _ in range(count))
    return [hit is not None for hit in calls]


def counts(faults: Faults) -> list[tuple[int, int]]:
    """What each rule has seen and injected."""
    return [(rule["seen"], rule["injected"]) for rule in faults.document()["rules"]]


def test_a_share_of_the_calls_is_hit() -> None:
    """As many as the share says, but for chance."""
    faults = faults_of(a_rule(share=0.25))
    assert 2300 < sum(hits(faults, 10_000)) < 2700


def test_the_same_seed_hits_the_same_calls() -> None:
    """Whatever happened to other rules; and another seed or name hits others."""
    rule = a_rule(share=0.5)
    first = hits(faults_of(rule), 64)
    assert hits(faults_of(a_rule(name="b", share=0), rule), 64) == first
    assert hits(faults_of(rule, seed=8), 64) != first
    assert hits(faults_of({**rule, "name": "b"}), 64) != first


def test_a_rule_that_stays_continues() -> None:
    """Its counts and its place in the sequence are kept by its name, whatever else changes."""
    rule = a_rule(share=0.5)
    whole = hits(faults_of(rule), 64)
    faults = faults_of(rule, a_rule(name="b", share=0))
    first = hits(faults, 20)
    faults.replace({"seed": 7, "rules": [a_rule(name="c", share=0), rule]})
    assert first + hits(faults, 44) == whole
    assert counts(faults) == [(44, 0), (64, sum(whole))]


def test_a_rule_that_comes_back_begins_anew() -> None:
    """Its counts are gone with it."""
    faults = faults_of(a_rule())
    hits(faults, 3)
    faults.replace({"rules": []})
    assert not faults.active
    faults.replace({"rules": [a_rule()]})
    assert counts(faults) == [(0, 0)]


def test_a_limit_ends_the_faults_but_not_the_count() -> None:
    """It counts what was injected, not what was withdrawn."""
    faults = faults_of(a_rule(limit=2))
    assert hits(faults, 4) == [True, True, False, False]
    assert counts(faults) == [(4, 2)]
    faults.replace({"rules": [a_rule(limit=3)]})
    hit = faults.hit(SEND, OF_REQUESTS, "", "")
    assert hit
    hit.withdraw()
    assert hits(faults, 2) == [True, False]


def test_the_first_rule_that_hits_decides() -> None:
    """The others count the call, but inject nothing."""
    faults = faults_of(a_rule(fault="reset"), a_rule(name="b"))
    hit = faults.hit(SEND, OF_REQUESTS, "", "")
    assert hit
    assert hit.rule.fault == "reset"
    assert counts(faults) == [(1, 1), (1, 0)]


@pytest.mark.parametrize(
    ("given", "applies"),
    [
        ({"api": "*"}, True),
        ({"api": "sqs:*"}, True),
        ({"api": "sqs:sendmessage"}, True),
        ({"api": "s3:*"}, False),
        ({"api": "sqs:ReceiveMessage"}, False),
        ({"queue": "results"}, True),
        ({"queue": "letters"}, False),
        ({"by": "Scheduler"}, True),
        ({"by": "Worker"}, False),
        ({"fault": "lost", "api": SEND}, False),
    ],
)
def test_a_rule_says_whom_it_concerns(given: dict[str, Any], applies: bool) -> None:
    """By operation, by a part of the target's name, and by a part of the caller's."""
    assert hits(faults_of(a_rule(**given)), by="a-SchedulerRole-1") == [applies]


def test_only_rules_for_a_service_cost_something() -> None:
    """Requests to other services are not even read."""
    faults = faults_of(a_rule(api="sqs:*"))
    assert faults.concern("sqs")
    assert not faults.concern("s3")
    assert faults_of(a_rule()).concern("s3")
    assert not faults_of().concern("s3")


def test_iams_name_of_an_invocation_is_understood() -> None:
    """The API's name is Invoke, the permission's InvokeFunction."""
    faults = faults_of(a_rule(api="lambda:InvokeFunction"))
    assert hits(faults, api="lambda:Invoke") == [True]


def test_what_is_no_request_is_not_hit_by_faults_of_requests() -> None:
    """An init phase can only be hit by a rule that names it."""
    faults = faults_of(a_rule(), a_rule(name="b", api="lambda:*"))
    assert hits(faults, api="lambda:Init") == [False]


def test_a_message_has_its_own_faults() -> None:
    """Beside those of the request that sends it."""
    faults = faults_of(a_rule(api=SEND, fault="delayed", delay_s=3))
    hit = faults.hit(SEND, OF_SENT_MESSAGES, "q", "")
    assert hit
    assert hit.rule.delay_s == 3


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"name": ""}, "name of the rule '' is ''"),
        ({"share": 1.5}, "share of the rule 'a' is 1.5: it must be a number from 0 to 1"),
        ({"share": "all"}, "it must be a number from 0 to 1"),
        ({"share": math.nan}, "it must be a number from 0 to 1"),
        ({"share": True}, "it must be a number from 0 to 1"),
        ({"share": None}, "share of the rule 'a' is missing"),
        ({"fault": "throttled"}, "did you mean throttle?"),
        ({"fault": "hang"}, "delay_s of the rule 'a' is missing"),
        ({"delay_s": 1}, "delay_s of the rule 'a' is 1.0: it must be left out"),
        ({"fault": "hang", "delay_s": -1}, "seconds, 0 or more"),
        ({"fault": "hang", "delay_s": math.inf}, "seconds, 0 or more"),
        ({"after_s": 1}, "it is for frozen"),
        ({"api": "SendMessage"}, "<service>:<operation>"),
        ({"api": "sq:SendMessage"}, "did you mean sqs:SendMessage?"),
        ({"api": "sqs:ReceiveMessage", "fault": "lost"}, "it must be sqs:SendMessage for lost"),
        ({"fault": "duplicated"}, "it must be sqs:SendMessage or lambda:Invoke for duplicated"),
        ({"api": "lambda:Init"}, "it must be init_error for lambda:Init"),
        ({"limit": 0}, "it must be a whole number, 1 or more, or left out"),
        ({"by": 4}, "by of the rule 'a' is 4"),
        ({"qeue": "x"}, "has an unknown field 'qeue': use name, api, fault"),
    ],
)
def test_a_wrong_rule_is_refused(changes: dict[str, Any], reason: str) -> None:
    """With the field, its value and what is allowed; and the rules before stay."""
    faults = faults_of(a_rule(name="before"))
    with pytest.raises(InvalidRuleError) as refused:
        faults.replace({"rules": [a_rule(**changes)]})
    assert reason in str(refused.value)
    assert [rule["name"] for rule in faults.document()["rules"]] == ["before"]


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "the body must be"),
        ({"rule": []}, "the body must be"),
        ({"seed": "x"}, "seed is 'x': it must be a whole number"),
        ({"rules": {}}, "rules is {}: it must be a list of rules"),
        ({"rules": [4]}, "a rule is an object, not 4"),
        ({"rules": [a_rule(), a_rule()]}, "two rules have the name 'a': give each its own"),
    ],
)
def test_a_wrong_document_is_refused(document: object, reason: str) -> None:
    """With what is wrong in it."""
    with pytest.raises(InvalidRuleError) as refused:
        faults_of().replace(document)
    assert reason in str(refused.value)
