"""The sources of an option's value, and the errors for unusable values."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping

import pytest

from lambda_executor.contract.errors import ConfigError
from lambda_executor.core.routing import Routes
from lambda_executor.core.targets import FunctionTarget
from lambda_executor.setup import config
from lambda_executor.setup.config import AwsConfig

COMPLETE = {
    "function_name": "fn",
    "queue_url": "https://sqs/results",
    "dead_letter_queue_url": "https://sqs/dead",
}

BATCH = '{"jobQueue": "jobs", "jobDefinition": "task"}'


class Conf:
    """Airflow's configuration with the options that are set, by section."""

    def __init__(self, **sections: Mapping[str, str]) -> None:
        self._sections = sections

    def get(self, section: str, key: str, *, fallback: str | None = None) -> str | None:
        """The value of an option, or the fallback."""
        return self._sections.get(section, {}).get(key, fallback)


def no_parameter(name: str) -> Mapping[str, str]:
    """Fails the test when the parameter is read."""
    raise AssertionError(f"read {name}")


@pytest.mark.parametrize("name", ["s3://bucket", "bucket/prefix", "Bucket", "b", "x" * 64])
def test_a_payload_bucket_that_is_no_name_is_refused(name: str) -> None:
    """The error shows the value and an example of a name."""
    conf = Conf(lambda_executor={**COMPLETE, "payload_bucket": name})
    with pytest.raises(ConfigError, match=rf"payload_bucket is '{re.escape(name)}'.*without s3://"):
        config.load(conf, no_parameter)


@pytest.mark.parametrize("queues", [{}, {"queue_urls": '["https://sqs/a", "https://sqs/dead"]'}])
def test_a_results_queue_for_dead_letters_is_refused(queues: dict[str, str]) -> None:
    """The error shows the URL and says which queue to use."""
    same = {"queue_url": "https://sqs/dead", **queues}
    conf = Conf(lambda_executor={**COMPLETE, **same})
    with pytest.raises(
        ConfigError, match=r"'https://sqs/dead', which is also a results queue.*set it"
    ):
        config.load(conf, no_parameter)


def test_our_section_wins_over_the_parameter_and_that_over_the_reference() -> None:
    """The order is: our section, SSM parameter, the reference's section, default."""
    conf = Conf(
        lambda_executor={"config_parameter": "/p", "function_name": "ours"},
        aws_lambda_executor={
            "function_name": "reference",
            "queue_url": "reference",
            "max_invoke_attempts": "7",
        },
    )
    parameter = {"function_name": "ssm", "queue_url": "ssm", "dead_letter_queue_url": "ssm-dead"}
    loaded = config.load(conf, {"/p": parameter}.__getitem__)
    assert loaded.routes.default == FunctionTarget("ours")
    assert loaded.queue_urls == ("ssm",)
    assert loaded.max_invoke_attempts == 7
    assert loaded.dispatch_threads == 512


def test_an_environment_of_the_reference_works_unchanged() -> None:
    """With nothing in our section, the reference's section is enough."""
    given = {**COMPLETE, "function_qualifier": "live"}
    loaded = config.load(Conf(aws_lambda_executor=given), no_parameter)
    assert loaded.routes == Routes(FunctionTarget("fn", "live"))


BESIDE = {"executor": "a.b.AwsLambdaExecutor,lambda:lambda_executor.LambdaExecutor"}


def test_beside_the_reference_its_section_is_its_own() -> None:
    """Two executors that receive from one results queue would get each other's results."""
    with pytest.raises(ConfigError, match="queue_url is not set"):
        config.load(Conf(core=BESIDE, aws_lambda_executor=COMPLETE), no_parameter)
    theirs = {
        "function_name": "theirs",
        "queue_url": "https://sqs/theirs",
        "dead_letter_queue_url": "https://sqs/their-dead",
        "max_invoke_attempts": "7",
        "conn_id": "their_connection",
    }
    conf = Conf(core=BESIDE, lambda_executor=COMPLETE, aws_lambda_executor=theirs)
    assert config.load(conf, no_parameter) == config.load(
        Conf(lambda_executor=COMPLETE), no_parameter
    )
    assert config.load_aws_config(conf).conn_id is None


@pytest.mark.parametrize("option", ["queue_url", "dead_letter_queue_url"])
def test_a_queue_of_the_reference_beside_us_is_refused(option: str) -> None:
    """The error names the queue, whose it is, and what to do."""
    theirs = {"queue_url": "https://sqs/theirs", "dead_letter_queue_url": "https://sqs/their-dead"}
    theirs[option] = COMPLETE[option]
    conf = Conf(core=BESIDE, lambda_executor=COMPLETE, aws_lambda_executor=theirs)
    expected = rf"{COMPLETE[option]} is .* also \[aws_lambda_executor\] {option}.*own function"
    with pytest.raises(ConfigError, match=expected):
        config.load(conf, no_parameter)


def test_an_option_of_ours_alone_is_not_looked_up_in_the_reference() -> None:
    """Only options of the reference fall back to its section."""
    conf = Conf(lambda_executor=COMPLETE, aws_lambda_executor={"dispatch_threads": "3"})
    assert config.load(conf, no_parameter).dispatch_threads == 512


@pytest.mark.parametrize("missing", sorted(COMPLETE))
def test_a_missing_option_is_named_with_the_fix(missing: str) -> None:
    """The error names the option, its variable and the SSM parameter that sets it."""
    conf = Conf(lambda_executor={k: v for k, v in COMPLETE.items() if k != missing})
    with pytest.raises(ConfigError) as caught:
        config.load(conf, no_parameter)
    assert f"[lambda_executor] {missing} is not set" in str(caught.value)
    assert f"AIRFLOW__LAMBDA_EXECUTOR__{missing.upper()}" in str(caught.value)
    assert "AIRFLOW__LAMBDA_EXECUTOR__CONFIG_PARAMETER" in str(caught.value)


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("max_invoke_attempts", "0", "at least 1"),
        ("max_invoke_attempts", "many", "at least 1"),
        ("dispatch_threads", "-4", "at least 1"),
        ("dispatch_threads", "1001", "at most 1000"),
        ("end_wait_timeout", "1.5", "at least 0"),
        ("end_wait_timeout", "1" * 400, "at most 86400"),
        ("check_health_on_startup", "maybe", "True or False"),
        ("functions", "large", "JSON object from queue to function"),
        ("functions", "[]", "JSON object from queue to function"),
        ("queue_urls", "[]", "one or more URLs"),
        ("queue_urls", "https://sqs/a", "one or more URLs"),
        ("function_name", "no name", "neither the name nor the ARN"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(option: str, value: str, allowed: str) -> None:
    """The error names the option, the value and the bounds."""
    conf = Conf(lambda_executor={**COMPLETE, option: value})
    with pytest.raises(ConfigError, match=rf"{option} is '{re.escape(value)}'.*{allowed}"):
        config.load(conf, no_parameter)


def test_an_offer_is_of_a_queue_that_a_target_serves() -> None:
    """A task would be sent to a queue that the executor refuses."""
    functions = '{"large": "fn-large"}'
    offers = '{"default": {}, "large": {}}'
    conf = Conf(lambda_executor={**COMPLETE, "functions": functions, "offers": offers})
    assert [o.queue for o in config.load(conf, no_parameter).offers] == ["default", "large"]
    conf = Conf(lambda_executor={**COMPLETE, "functions": functions, "offers": '{"lrge": {}}'})
    with pytest.raises(ConfigError, match=r"offers names the queue 'lrge'.*default, large"):
        config.load(conf, no_parameter)


@pytest.mark.parametrize("own", ["functions", "targets"])
def test_offers_of_a_stage_are_not_used_for_a_persons_own_targets(
    own: str, caplog: pytest.LogCaptureFixture
) -> None:
    """They say what the stage's targets give, under the names of its queues."""
    ours = {"functions": '{"own": "fn-own"}', "targets": f'{{"own": {{"batch": {BATCH}}}}}'}
    stage = {"functions": '{"large": "fn-large"}', "targets": f'{{"large": {{"batch": {BATCH}}}}}'}
    conf = Conf(lambda_executor={"config_parameter": "/p", own: ours[own]})
    parameter = {
        **COMPLETE,
        "payload_bucket": "payloads",
        own: stage[own],
        "offers": '{"default": {}, "large": {}}',
    }
    with caplog.at_level(logging.WARNING):
        loaded = config.load(conf, lambda _: parameter)
    assert loaded.offers == ()
    (warning,) = caplog.messages
    assert f"offers of SSM parameter /p are not used, because [lambda_executor] {own} is" in warning


def test_an_offer_needs_a_target_of_its_own() -> None:
    """Without functions for queues, the default target would run its tasks in silence."""
    conf = Conf(lambda_executor={**COMPLETE, "offers": '{"gpu": {"gpu": 1}}'})
    with pytest.raises(ConfigError, match=r"offers names the queue 'gpu'.*default"):
        config.load(conf, no_parameter)


def test_an_option_that_only_newer_stacks_know_is_ignored_and_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A parameter written by a newer release works."""
    conf = Conf(lambda_executor={"config_parameter": "/p"})
    with caplog.at_level(logging.WARNING):
        config.load(conf, lambda _: {**COMPLETE, "new_option": "x"})
    assert "new_option" in caplog.text


def test_each_scheduler_has_a_results_queue_of_its_own() -> None:
    """The job id selects the queue; without a job or a list there is one queue."""
    urls = '["https://sqs/a", "https://sqs/b", "https://sqs/a"]'
    shared = config.load(Conf(lambda_executor={**COMPLETE, "queue_urls": urls}), no_parameter)
    assert shared.queue_urls == ("https://sqs/a", "https://sqs/b")
    assert [shared.own_queue(job_id) for job_id in (4, 5, "7", None)] == [0, 1, 1, 0]
    alone = config.load(Conf(lambda_executor=COMPLETE), no_parameter)
    assert alone.queue_urls == ("https://sqs/results",)
    assert alone.own_queue(7) == 0


def test_the_source_of_the_function_is_the_source_of_its_qualifier() -> None:
    """A function of our section is not combined with the alias of the stacks' parameter."""
    parameter = {**COMPLETE, "function_qualifier": "live"}

    def routes(**explicit: str) -> Routes:
        conf = Conf(lambda_executor={"config_parameter": "/p", **explicit})
        return config.load(conf, lambda _: parameter).routes

    assert routes() == Routes(FunctionTarget("fn", "live"))
    assert routes(function_name="mine") == Routes(FunctionTarget("mine"))
    assert routes(function_name="mine:prod") == Routes(FunctionTarget("mine", "prod"))
    assert routes(function_qualifier="7") == Routes(FunctionTarget("fn", "7"))


def test_the_source_of_the_queue_is_the_source_of_the_list() -> None:
    """A queue of our section wins over the list of the stacks' parameter."""
    parameter = {**COMPLETE, "queue_urls": '["https://sqs/a", "https://sqs/b"]'}

    def queue_urls(**explicit: str) -> tuple[str, ...]:
        conf = Conf(lambda_executor={"config_parameter": "/p", **explicit})
        return config.load(conf, lambda _: parameter).queue_urls

    assert queue_urls() == ("https://sqs/a", "https://sqs/b")
    assert queue_urls(queue_url="https://sqs/mine") == ("https://sqs/mine",)


def test_defaults_of_the_reference_count_only_where_it_was_configured() -> None:
    """The Amazon provider's default connection is not used only because it is installed."""
    defaults = {"conn_id": "aws_default", "region_name": ""}
    assert config.load_aws_config(Conf(aws_lambda_executor=defaults)).conn_id is None
    configured = Conf(aws_lambda_executor={**defaults, **COMPLETE})
    assert config.load_aws_config(configured).conn_id == "aws_default"


def test_without_a_connection_the_session_is_boto3s_own() -> None:
    """No Airflow connection is used when conn_id is unset."""
    session = config.session_factory(AwsConfig(conn_id=None, region_name=None))()
    assert session.get_credentials() is not None


def max_in_flight(text: str) -> Mapping[str, int]:
    """The limits by function that the option sets, with two functions."""
    functions = '{"large": "large:live"}'
    options = {**COMPLETE, "functions": functions, "max_in_flight": text}
    return config.load(Conf(lambda_executor=options), no_parameter).max_in_flight


def test_max_in_flight_is_a_number_for_every_function_or_an_object() -> None:
    """Functions that the object lacks have no limit of a person's."""
    assert max_in_flight("") == {}
    assert max_in_flight("8") == {"fn": 8, "large": 8}
    assert max_in_flight('{"large": 0}') == {"large": 0}


@pytest.mark.parametrize("wrong", ["many", "-1", '{"large": true}', "[8]", '{"large": 1.5}'])
def test_a_max_in_flight_that_is_no_number_is_refused(wrong: str) -> None:
    """The error shows the value and what is allowed."""
    with pytest.raises(ConfigError, match=rf"max_in_flight is '{re.escape(wrong)}'.*at least 0"):
        max_in_flight(wrong)


def test_a_max_in_flight_of_a_function_that_nobody_uses_is_refused() -> None:
    """The error names the functions."""
    with pytest.raises(ConfigError, match=r"names 'other', .*write one of fn, large"):
        max_in_flight('{"other": 1}')
