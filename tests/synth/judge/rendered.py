"""A template as AWS's services see it: every function replaced by a value of the right shape.

cfn-lint looks at templates as they are written and cannot measure a name or an ARN that is put
together at deploy. Here references become names and ARNs as AWS would make them, so that schemas,
limits and policies can be held against texts. Unknown types fail: add them to the tables.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from typing import Any, ClassVar

from tests.synth.assembly import Assembly, Resource

#: Where a stage is that does not say it.
_REGION = "eu-west-1"
_ACCOUNT = "111122223333"
_UUID = "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9"
#: What CloudFormation appends to a name that it makes.
_RANDOM = "1A2B3C4D5E6F7"

#: The property that holds a resource's own name, and how long a name CloudFormation makes at most.
NAMES: Mapping[str, tuple[str, int]] = {
    "AWS::CloudWatch::Alarm": ("AlarmName", 255),
    "AWS::CloudWatch::Dashboard": ("DashboardName", 255),
    "AWS::ECR::Repository": ("RepositoryName", 256),
    "AWS::ECS::Cluster": ("ClusterName", 255),
    "AWS::ECS::Service": ("ServiceName", 255),
    "AWS::ECS::TaskDefinition": ("Family", 255),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": ("Name", 32),
    "AWS::ElasticLoadBalancingV2::TargetGroup": ("Name", 32),
    "AWS::IAM::ManagedPolicy": ("ManagedPolicyName", 128),
    "AWS::IAM::Policy": ("PolicyName", 128),
    "AWS::IAM::Role": ("RoleName", 64),
    "AWS::Lambda::Alias": ("Name", 128),
    "AWS::Lambda::Function": ("FunctionName", 64),
    "AWS::Lambda::MicrovmImage": ("Name", 64),
    "AWS::Lambda::NetworkConnector": ("Name", 64),
    "AWS::Logs::LogGroup": ("LogGroupName", 512),
    "AWS::RDS::DBInstance": ("DBInstanceIdentifier", 63),
    "AWS::RDS::DBParameterGroup": ("DBParameterGroupName", 255),
    "AWS::RDS::DBProxy": ("DBProxyName", 63),
    "AWS::RDS::DBSubnetGroup": ("DBSubnetGroupName", 255),
    "AWS::S3::Bucket": ("BucketName", 63),
    "AWS::SNS::Topic": ("TopicName", 256),
    "AWS::SQS::Queue": ("QueueName", 80),
    "AWS::SSM::Parameter": ("Name", 1011),
    "AWS::SecretsManager::Secret": ("Name", 512),
    "AWS::ServiceDiscovery::PrivateDnsNamespace": ("Name", 253),
    "AWS::ServiceDiscovery::Service": ("Name", 64),
}

#: Types whose generated names have no capitals.
_IN_LOWER_CASE = ("AWS::RDS::", "AWS::S3::")

#: What `Ref` gives, where that is not the name. Fields: `Place`'s, and `name`.
_REFS = {
    "AWS::ApiGatewayV2::Api": "{hex10}",
    "AWS::ApiGatewayV2::Integration": "{hex10}",
    "AWS::ApiGatewayV2::VpcLink": "{hex10}",
    "AWS::EC2::InternetGateway": "igw-{hex}",
    "AWS::EC2::LaunchTemplate": "lt-{hex}",
    "AWS::EC2::NatGateway": "nat-{hex}",
    "AWS::EC2::RouteTable": "rtb-{hex}",
    "AWS::EC2::Subnet": "subnet-{hex}",
    "AWS::EC2::VPC": "vpc-{hex}",
    "AWS::ECS::Cluster": "{name}",
    "AWS::ECS::Service": "arn:aws:ecs:{region}:{account}:service/cluster/{name}",
    "AWS::ECS::TaskDefinition": "arn:aws:ecs:{region}:{account}:task-definition/{name}:1",
    "AWS::EFS::AccessPoint": "fsap-{hex}",
    "AWS::EFS::FileSystem": "fs-{hex}",
    "AWS::ElasticLoadBalancingV2::Listener": (
        "arn:aws:elasticloadbalancing:{region}:{account}:listener/app/{name}/{hex16}/{hex16}"
    ),
    "AWS::ElasticLoadBalancingV2::LoadBalancer": (
        "arn:aws:elasticloadbalancing:{region}:{account}:loadbalancer/app/{name}/{hex16}"
    ),
    "AWS::ElasticLoadBalancingV2::TargetGroup": (
        "arn:aws:elasticloadbalancing:{region}:{account}:targetgroup/{name}/{hex16}"
    ),
    "AWS::IAM::ManagedPolicy": "arn:aws:iam::{account}:policy/{name}",
    "AWS::Lambda::Alias": "arn:aws:lambda:{region}:{account}:function:{function}:{name}",
    "AWS::SNS::Topic": "arn:aws:sns:{region}:{account}:{name}",
    "AWS::SQS::Queue": "https://sqs.{region}.amazonaws.com/{account}/{name}",
    "AWS::SecretsManager::Secret": (
        "arn:aws:secretsmanager:{region}:{account}:secret:{name}-AbCdEf"
    ),
    "AWS::SecretsManager::SecretTargetAttachment": (
        "arn:aws:secretsmanager:{region}:{account}:secret:{name}-AbCdEf"
    ),
    "AWS::ServiceDiscovery::PrivateDnsNamespace": "ns-abcdefghijklmnop",
    "AWS::ServiceDiscovery::Service": "srv-abcdefghijklmnop",
}

#: What `Fn::GetAtt` gives.
_ATTRIBUTES = {
    ("AWS::ApiGatewayV2::Api", "ApiEndpoint"): "https://{hex10}.execute-api.{region}.amazonaws.com",
    ("AWS::Batch::ComputeEnvironment", "ComputeEnvironmentArn"): (
        "arn:aws:batch:{region}:{account}:compute-environment/{name}"
    ),
    ("AWS::EC2::EIP", "AllocationId"): "eipalloc-{hex}",
    ("AWS::EC2::LaunchTemplate", "LatestVersionNumber"): "1",
    ("AWS::EC2::SecurityGroup", "GroupId"): "sg-{hex}",
    ("AWS::ECS::Service", "Name"): "{name}",
    ("AWS::EFS::AccessPoint", "Arn"): (
        "arn:aws:elasticfilesystem:{region}:{account}:access-point/fsap-{hex}"
    ),
    ("AWS::EFS::FileSystem", "Arn"): (
        "arn:aws:elasticfilesystem:{region}:{account}:file-system/fs-{hex}"
    ),
    ("AWS::ElasticLoadBalancingV2::LoadBalancer", "DNSName"): (
        "internal-{name}-1234567890.{region}.elb.amazonaws.com"
    ),
    ("AWS::ElasticLoadBalancingV2::LoadBalancer", "LoadBalancerFullName"): "app/{name}/{hex16}",
    ("AWS::ElasticLoadBalancingV2::TargetGroup", "TargetGroupFullName"): (
        "targetgroup/{name}/{hex16}"
    ),
    ("AWS::IAM::InstanceProfile", "Arn"): "arn:aws:iam::{account}:instance-profile/{name}",
    ("AWS::IAM::Role", "Arn"): "arn:aws:iam::{account}:role/{name}",
    ("AWS::KMS::Key", "Arn"): "arn:aws:kms:{region}:{account}:key/{uuid}",
    ("AWS::Lambda::Function", "Arn"): "arn:aws:lambda:{region}:{account}:function:{name}",
    ("AWS::Lambda::NetworkConnector", "Arn"): (
        "arn:aws:lambda:{region}:{account}:network-connector:{name}"
    ),
    ("AWS::Lambda::Version", "Version"): "7",
    ("AWS::Logs::LogGroup", "Arn"): "arn:aws:logs:{region}:{account}:log-group:{name}:*",
    ("AWS::RDS::DBInstance", "Endpoint.Address"): "{name}.abcdefghijkl.{region}.rds.amazonaws.com",
    ("AWS::RDS::DBInstance", "Endpoint.Port"): "5432",
    ("AWS::RDS::DBProxy", "Endpoint"): "{name}.proxy-abcdefghijkl.{region}.rds.amazonaws.com",
    ("AWS::S3::Bucket", "Arn"): "arn:aws:s3:::{name}",
    ("AWS::SQS::Queue", "Arn"): "arn:aws:sqs:{region}:{account}:{name}",
    ("AWS::SQS::Queue", "QueueName"): "{name}",
    ("AWS::ServiceDiscovery::PrivateDnsNamespace", "Id"): "ns-abcdefghijklmnop",
    ("AWS::ServiceDiscovery::Service", "Arn"): (
        "arn:aws:servicediscovery:{region}:{account}:service/srv-abcdefghijklmnop"
    ),
}

_NOTHING = object()


@dataclass(frozen=True)
class Rendering:
    """One stage with every reference resolved.

    Attributes:
        assembly: The stage as it was synthesized.
    """

    assembly: Assembly

    def resources(self, *types: str) -> Iterator[Resource]:
        """The resources of these types (without types: all), with plain values as properties."""
        for resource in self._all:
            if not types or resource.type in types:
                yield resource

    @property
    def region(self) -> str:
        """The Region that the stage is deployed to."""
        return self.assembly.config.region or _REGION

    @property
    def account(self) -> str:
        """The account that the stage is deployed to."""
        return self.assembly.config.account or _ACCOUNT

    def name(self, part: str, logical_id: str) -> str:
        """The physical name of a resource: its own, or one as CloudFormation makes it."""
        body = self._templates[part]["Resources"][logical_id]
        property_, longest = NAMES.get(body["Type"], ("", 255))
        given = body.get("Properties", {}).get(property_)
        if given is not None:
            return str(self.value(part, given))
        name = f"{self._stack(part)}-{logical_id}"[: longest - len(_RANDOM) - 1] + f"-{_RANDOM}"
        return name.lower() if body["Type"].startswith(_IN_LOWER_CASE) else name

    def value(self, part: str, value: object) -> Any:
        """A value of a template with every function in it resolved."""
        if isinstance(value, list):
            items = [self.value(part, item) for item in value]
            return [item for item in items if item is not _NOTHING]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((key, argument),) = value.items()
            if key == "Ref" or key.startswith("Fn::"):
                return self._FUNCTIONS[key](self, part, argument)
        pairs = {key: self.value(part, item) for key, item in value.items()}
        return {key: item for key, item in pairs.items() if item is not _NOTHING}

    def _ref(self, part: str, target: str) -> Any:
        pseudo = {
            "AWS::AccountId": self.account,
            "AWS::NoValue": _NOTHING,
            "AWS::Partition": "aws",
            "AWS::Region": self.region,
            "AWS::StackName": self._stack(part),
            "AWS::URLSuffix": "amazonaws.com",
        }
        if target in pseudo:
            return pseudo[target]
        template = self._templates[part]
        if target in template.get("Parameters", {}):
            return template["Parameters"][target].get("Default", "")
        type_ = template["Resources"][target]["Type"]
        pattern = _REFS.get(type_) or ("{name}" if type_ in NAMES else None)
        if pattern is None:
            raise LookupError(f"What does Ref give for {type_}? Add it to _REFS.")
        return self._filled(pattern, part, target)

    def _attribute(self, part: str, argument: list[str]) -> str:
        target, attribute = argument
        type_ = self._templates[part]["Resources"][target]["Type"]
        if (type_, attribute) not in _ATTRIBUTES:
            raise LookupError(f"What is {attribute} of {type_}? Add it to _ATTRIBUTES.")
        return self._filled(_ATTRIBUTES[type_, attribute], part, target)

    def _filled(self, pattern: str, part: str, logical_id: str) -> str:
        body = self._templates[part]["Resources"][logical_id]
        function = body.get("Properties", {}).get("FunctionName", "")
        unique = sha256(logical_id.encode()).hexdigest()
        return pattern.format(
            name=self.name(part, logical_id),
            function=self.value(part, function) if "{function}" in pattern else "",
            region=self.region,
            account=self.account,
            hex=unique[:17],
            hex16=unique[:16],
            hex10=unique[:10],
            uuid=_UUID,
        )

    def _joined(self, part: str, argument: tuple[str, object]) -> str:
        separator, parts = argument
        return separator.join(map(str, self.value(part, parts)))

    def _encoded(self, part: str, argument: object) -> str:
        return b64encode(str(self.value(part, argument)).encode()).decode()

    def _selected(self, part: str, argument: tuple[int, object]) -> Any:
        index, items = argument
        return self.value(part, items)[int(index)]

    def _split(self, part: str, argument: tuple[str, object]) -> list[str]:
        separator, text = argument
        return str(self.value(part, text)).split(separator)

    def _substituted(self, part: str, text: str) -> str:
        return re.sub(r"\$\{([^}]+)\}", lambda found: str(self._ref(part, found[1])), text)

    def _imported(self, part: str, argument: object) -> Any:
        return self._exports[self.value(part, argument)]

    def _stack_output(self, part: str, argument: Mapping[str, object]) -> Any:
        stack, name = (self.value(part, argument[key]) for key in ("StackName", "OutputName"))
        of = stack.removeprefix(f"airflow-lambda-{self.assembly.stage}-")
        return self.value(of, self._templates[of]["Outputs"][name]["Value"])

    def _zones(self, _part: str, _argument: object) -> list[str]:
        return [f"{self.region}{letter}" for letter in "abc"]

    def _stack(self, part: str) -> str:
        return f"airflow-lambda-{self.assembly.stage}-{part}"

    @cached_property
    def _templates(self) -> dict[str, dict[str, Any]]:
        return {part: self.assembly.json(part) for part in self.assembly.parts}

    @cached_property
    def _exports(self) -> dict[str, Any]:
        return {
            self.value(part, output["Export"]["Name"]): self.value(part, output["Value"])
            for part, template in self._templates.items()
            for output in template.get("Outputs", {}).values()
            if "Export" in output
        }

    @cached_property
    def _all(self) -> list[Resource]:
        return [
            replace(
                resource,
                body={
                    **resource.body,
                    "Properties": self.value(resource.part, resource.properties),
                },
            )
            for resource in self.assembly.resources()
        ]

    _FUNCTIONS: ClassVar[Mapping[str, Callable[[Any, str, Any], Any]]] = {
        "Fn::Base64": _encoded,
        "Fn::GetAZs": _zones,
        "Fn::GetAtt": _attribute,
        "Fn::GetStackOutput": _stack_output,
        "Fn::ImportValue": _imported,
        "Fn::Join": _joined,
        "Fn::Select": _selected,
        "Fn::Split": _split,
        "Fn::Sub": _substituted,
        "Ref": _ref,
    }
