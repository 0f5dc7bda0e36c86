"""Everything that an Airflow needs to run its tasks on Lambda, as one construct.

Owns the connections between the parts: the permissions, and the parameter that wires an executor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import aws_cdk as cdk
from aws_cdk import aws_ec2 as ec2
from aws_cdk import aws_iam as iam
from aws_cdk import aws_kms as kms
from aws_cdk import aws_logs as logs
from aws_cdk import aws_ssm as ssm
from constructs import Construct

from airflow_lambda_constructs.acknowledge import acknowledge_any_resource
from airflow_lambda_constructs.execution.buckets import PayloadBucket
from airflow_lambda_constructs.execution.policy_size import check_policy
from airflow_lambda_constructs.execution.results_queue import ResultsQueue
from airflow_lambda_constructs.execution.shared_files import SharedFiles
from airflow_lambda_constructs.execution.target import (
    Target,
    TargetNetwork,
    TargetProps,
    TargetSurroundings,
    allow,
)
from airflow_lambda_constructs.execution.target_wiring import offers, targets_by_queue
from airflow_lambda_constructs.execution.workload_function import (
    FunctionProps,
    WorkloadFunction,
    WorkloadFunctionProps,
)
from airflow_lambda_constructs.names import in_ids
from lambda_executor.contract import options
from lambda_executor.contract.names import EXECUTOR


@dataclass(frozen=True, slots=True, kw_only=True)
class LambdaExecutorEnvironmentProps:
    """The settings of a `LambdaExecutorEnvironment`.

    Attributes:
        name: Physical name of the first function; the names of the others begin with it.
        execution_api_url: Airflow's Execution API as the functions reach it.
        parameter_name: Name of the SSM parameter that wires an executor.
        removal_policy: What happens to queues, payloads and logs when they leave the stack.
        environment: Variables of every function.
        results_queues: One for each scheduler that runs at the same time.
        results_retention: How long a result waits for a scheduler; longer than any time-out.
        results_visibility: How long a received result is hidden from other schedulers.
        event_age: How long Lambda keeps an invocation that it cannot start; at most Airflow's
            `[scheduler] task_queued_timeout`, the lifetime of a workload's token. Before Airflow
            3.2 the token lives `[execution_api] jwt_expiration_time`.
        encryption_key: For everything that is stored; None: AWS's own keys.
        vpc: None: the functions run outside any VPC.
        subnets: None: the VPC's private ones.
        targets: Where tasks run that no function can run.
        target_network: Where the targets run; None: none of them needs a VPC.
        shared_files: Files that functions and containers share; None: there are none.
    """

    name: str
    functions: tuple[FunctionProps, ...]
    execution_api_url: str
    parameter_name: str
    removal_policy: cdk.RemovalPolicy
    log_retention: logs.RetentionDays = logs.RetentionDays.ONE_MONTH
    environment: Mapping[str, str] = field(default_factory=dict)
    results_queues: int = 1
    results_retention: cdk.Duration = field(default_factory=lambda: cdk.Duration.days(4))
    results_visibility: cdk.Duration = field(default_factory=lambda: cdk.Duration.minutes(2))
    event_age: cdk.Duration = field(default_factory=lambda: cdk.Duration.minutes(9))
    encryption_key: kms.IKey | None = None
    vpc: ec2.IVpc | None = None
    subnets: ec2.SubnetSelection | None = None
    security_groups: tuple[ec2.ISecurityGroup, ...] = ()
    targets: tuple[TargetProps, ...] = ()
    target_network: TargetNetwork | None = None
    shared_files: SharedFiles | None = None


class LambdaExecutorEnvironment(Construct):
    """Functions and other targets, queues, payload bucket, and what a scheduler needs to use them.

    That is the executor's parameter and a policy.
    """

    def __init__(self, scope: Construct, id: str, props: LambdaExecutorEnvironmentProps) -> None:
        super().__init__(scope, id)
        self.queue = ResultsQueue(
            self,
            "ResultsQueue",
            count=props.results_queues,
            retention=props.results_retention,
            visibility_timeout=props.results_visibility,
            removal_policy=props.removal_policy,
            encryption_key=props.encryption_key,
        )
        self.payloads = PayloadBucket(
            self,
            "PayloadBucket",
            prefix=options.PAYLOAD_PREFIX,
            removal_policy=props.removal_policy,
            encryption_key=props.encryption_key,
        )
        self.functions = tuple(
            self._function(props, settings, is_first=number == 0)
            for number, settings in enumerate(props.functions)
        )
        for workload in self.functions:
            self._permit_workload(workload.function)
        self.targets = self._targets(props)
        self.config_parameter = self._parameter(props)
        self.scheduler_policy = self._scheduler_policy(props.name)
        self.page_policy = self._page_policy(props.name)
        check_policy(
            self.scheduler_policy,
            [_function_name(props, settings) for settings in props.functions],
            len(self.queue.results),
            [
                (target.service, f"{props.name}-{settings.name}")
                for target, settings in zip(self.targets, props.targets, strict=True)
            ],
        )

    @property
    def config_line(self) -> str:
        """The variable, with its value, that wires an Airflow to the environment."""
        variable = options.CONFIG_PARAMETER.environment_variable
        return f"{variable}={self.config_parameter.parameter_name}"

    def _permit_workload(self, grantee: iam.IGrantable) -> None:
        """Let workloads take their payloads and send their results."""
        self.queue.grant_send(grantee)
        self.payloads.grant_take(grantee)

    def _variables(self, props: LambdaExecutorEnvironmentProps) -> Mapping[str, str]:
        """The variables of every function and of every other target."""
        return {
            options.QUEUE_URL.environment_variable: self.queue.results[0].queue_url,
            options.PAYLOAD_BUCKET.environment_variable: self.payloads.bucket.bucket_name,
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": props.execution_api_url,
            **props.environment,
        }

    def _targets(self, props: LambdaExecutorEnvironmentProps) -> tuple[Target, ...]:
        if not props.targets:
            return ()
        scope = Construct(self, "Targets")
        around = TargetSurroundings(
            name=props.name,
            environment=self._variables(props),
            permit_workload=self._permit_workload,
            log_retention=props.log_retention,
            removal_policy=props.removal_policy,
            encryption_key=props.encryption_key,
            network=props.target_network,
            shared_files=props.shared_files,
        )
        return tuple(
            settings.make(scope, in_ids(settings.name), around) for settings in props.targets
        )

    def _function(
        self, props: LambdaExecutorEnvironmentProps, settings: FunctionProps, *, is_first: bool
    ) -> WorkloadFunction:
        return WorkloadFunction(
            self,
            "Workload" if is_first else f"Workload{in_ids(settings.name)}",
            WorkloadFunctionProps(
                settings=replace(
                    settings,
                    name=_function_name(props, settings),
                    environment={**self._variables(props), **settings.environment},
                ),
                event_age=props.event_age,
                dead_letter_queue=self.queue.dead_letters,
                failures=self.queue.failures,
                log_retention=props.log_retention,
                removal_policy=props.removal_policy,
                encryption_key=props.encryption_key,
                vpc=props.vpc,
                subnets=props.subnets,
                security_groups=props.security_groups,
                shared_files=props.shared_files,
            ),
        )

    def _parameter(self, props: LambdaExecutorEnvironmentProps) -> ssm.StringParameter:
        """The parameter with every option that the executor reads from it, by the option's name."""
        stack, default = cdk.Stack.of(self), self.functions[0]
        by_queue = {
            queue: f"{workload.function.function_name}:{workload.alias.alias_name}"
            # Each queue is a tenant.
            + (f"@{queue}" if settings.tenant_isolation else "")
            for settings, workload in zip(props.functions, self.functions, strict=True)
            for queue in settings.queues
        }
        wired = {
            options.FUNCTION_NAME: default.function.function_name,
            options.FUNCTION_QUALIFIER: default.alias.alias_name,
            options.FUNCTIONS: stack.to_json_string(by_queue),
            options.QUEUE_URL: self.queue.results[0].queue_url,
            options.QUEUE_URLS: stack.to_json_string(
                [queue.queue_url for queue in self.queue.results]
            ),
            options.DEAD_LETTER_QUEUE_URL: self.queue.dead_letters.queue_url,
            options.LOG_GROUP: default.log_group.log_group_name,
            options.PAYLOAD_BUCKET: self.payloads.bucket.bucket_name,
            options.REGION_NAME: stack.region,
        }
        if self.targets:
            wired[options.TARGETS] = stack.to_json_string(targets_by_queue(self.targets))
            wired[options.OFFERS] = stack.to_json_string(offers(props.functions, self.targets))
        return ssm.StringParameter(
            self,
            "Executor",
            parameter_name=props.parameter_name,
            description=f"What {EXECUTOR} needs to use this stage",
            # 4 KB are free; a parameter with many queues is larger and costs money.
            # https://docs.aws.amazon.com/systems-manager/latest/userguide/parameter-store-advanced-parameters.html
            tier=ssm.ParameterTier.INTELLIGENT_TIERING,
            string_value=stack.to_json_string(
                {option.name: wired[option] for option in options.WIRED_OPTIONS if option in wired}
            ),
        )

    def _scheduler_policy(self, name: str) -> iam.ManagedPolicy:
        policy = iam.ManagedPolicy(
            self,
            "SchedulerPolicy",
            description=f"What an Airflow scheduler needs to use {name}",
        )
        for workload in self.functions:
            workload.grant_dispatch(policy)
        for target in self.targets:
            target.grant_dispatch(policy)
        self.queue.grant_drain(policy)
        self.payloads.grant_put(policy)
        if any(target.service == "microvm" for target in self.targets):
            self.payloads.grant_find_micro_vms(policy)
        iam.Grant.add_to_principal(
            grantee=policy,
            actions=["ssm:GetParameter"],
            resource_arns=[self.config_parameter.parameter_arn],
        )
        # The doctor compares the account's concurrency with what the schedulers send.
        iam.Grant.add_to_principal(
            grantee=policy, actions=["lambda:GetAccountSettings"], resource_arns=["*"]
        )
        acknowledge_any_resource(
            policy, "lambda:GetAccountSettings reads limits of the account and knows no resource"
        )
        return policy

    def _page_policy(self, name: str) -> iam.ManagedPolicy:
        """Let an API server show the page of the executor, and retry and purge dead letters."""
        policy = iam.ManagedPolicy(
            self,
            "PagePolicy",
            description=f"What the page in Airflow needs to show {name}",
        )
        self.queue.grant_watch(policy)
        for workload in self.functions:
            workload.grant_invoke(policy)
        iam.Grant.add_to_principal(
            grantee=policy,
            actions=["ssm:GetParameter"],
            resource_arns=[self.config_parameter.parameter_arn],
        )
        iam.Grant.add_to_principal(
            grantee=policy, actions=["cloudwatch:GetMetricData"], resource_arns=["*"]
        )
        acknowledge_any_resource(
            policy, "cloudwatch:GetMetricData reads counts of any metric and knows no resource"
        )
        for service in sorted({target.service for target in self.targets} & _DESCRIBE.keys()):
            action = _DESCRIBE[service]
            allow(policy, [action], ["*"], why=f"{action} {_NO_RESOURCE}")
        return policy


#: What names the log group of a job, by the target's service.
_DESCRIBE = {"batch": "batch:DescribeJobDefinitions", "ecs": "ecs:DescribeTaskDefinition"}
_NO_RESOURCE = "names the log group of a job and has no resource-level permission"


def _function_name(props: LambdaExecutorEnvironmentProps, settings: FunctionProps) -> str:
    is_first = settings is props.functions[0]
    return props.name if is_first else f"{props.name}-{settings.name}"
