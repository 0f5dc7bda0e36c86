"""An HTTP API that leads through a VPC link to a Cloud Map service, as a control plane has it."""

from __future__ import annotations

from typing import Any


def template(name: str) -> dict[str, Any]:
    """A CloudFormation template with outputs `Url` and `ServiceId`; all have the name."""
    resources: dict[str, tuple[str, dict[str, Any]]] = {
        "Vpc": ("AWS::EC2::VPC", {"CidrBlock": "10.1.0.0/16"}),
        "Subnet": ("AWS::EC2::Subnet", {"VpcId": {"Ref": "Vpc"}, "CidrBlock": "10.1.0.0/24"}),
        "Namespace": (
            "AWS::ServiceDiscovery::PrivateDnsNamespace",
            {"Name": f"{name}.internal", "Vpc": {"Ref": "Vpc"}},
        ),
        "Service": (
            "AWS::ServiceDiscovery::Service",
            {
                "Name": name,
                "NamespaceId": {"Fn::GetAtt": ["Namespace", "Id"]},
                "DnsConfig": {"DnsRecords": [{"Type": "SRV", "TTL": 10}]},
            },
        ),
        "Api": ("AWS::ApiGatewayV2::Api", {"Name": name, "ProtocolType": "HTTP"}),
        "Stage": (
            "AWS::ApiGatewayV2::Stage",
            {"ApiId": {"Ref": "Api"}, "StageName": "$default", "AutoDeploy": True},
        ),
        "Link": ("AWS::ApiGatewayV2::VpcLink", {"Name": name, "SubnetIds": [{"Ref": "Subnet"}]}),
        "Integration": (
            "AWS::ApiGatewayV2::Integration",
            {
                "ApiId": {"Ref": "Api"},
                "ConnectionId": {"Ref": "Link"},
                "ConnectionType": "VPC_LINK",
                "IntegrationMethod": "ANY",
                "IntegrationType": "HTTP_PROXY",
                "IntegrationUri": {"Fn::GetAtt": ["Service", "Arn"]},
                "PayloadFormatVersion": "1.0",
                "RequestParameters": {"overwrite:path": "$request.path"},
            },
        ),
        "Route": (
            "AWS::ApiGatewayV2::Route",
            {
                "ApiId": {"Ref": "Api"},
                "RouteKey": "ANY /execution/{proxy+}",
                "Target": {"Fn::Join": ["/", ["integrations", {"Ref": "Integration"}]]},
            },
        ),
    }
    return {
        "Resources": {
            id: {"Type": type_, "Properties": properties}
            for id, (type_, properties) in resources.items()
        },
        "Outputs": {
            "Url": {"Value": {"Fn::GetAtt": ["Api", "ApiEndpoint"]}},
            "ServiceId": {"Value": {"Fn::GetAtt": ["Service", "Id"]}},
        },
    }


def register(cloud_map: Any, service_id: str, port: int) -> None:
    """Register a port of this machine, as ECS does with a task."""
    cloud_map.register_instance(
        ServiceId=service_id,
        InstanceId="task",
        Attributes={"AWS_INSTANCE_IPV4": "127.0.0.1", "AWS_INSTANCE_PORT": str(port)},
    )
