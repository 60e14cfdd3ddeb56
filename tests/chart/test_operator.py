"""The operator's Deployment: restricted, probed, rolled when its configuration changes."""

from collections.abc import Callable
from typing import Any

import pytest

Object = dict[str, Any]
Render = Callable[..., list[Object]]


def find(objects: list[Object], kind: str) -> Object:
    return next(each for each in objects if each["kind"] == kind)


def kinds(objects: list[Object]) -> list[str]:
    return [each["kind"] for each in objects]


@pytest.mark.parametrize("values", [{}, {"podSecurityContext": {"runAsUser": 1000, "fsGroup": 1000}}])
def test_the_pod_meets_the_restricted_standard(values: Object, render: Render) -> None:
    pod = find(render(values), "Deployment")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & set(pod)
    assert [set(volume) - {"name"} for volume in pod["volumes"]] == [{"configMap"}, {"emptyDir"}]
    (container,) = pod["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert {"requests", "limits"} == set(container["resources"])


def test_no_user_is_set_unless_configured(render: Render) -> None:
    assert "runAsUser" not in find(render(), "Deployment")["spec"]["template"]["spec"]["securityContext"]
    configured = find(render({"podSecurityContext": {"runAsUser": 1234}}), "Deployment")
    assert configured["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == 1234


def test_every_probe_asks_a_port_that_exists(rendered: list[Object]) -> None:
    (container,) = find(rendered, "Deployment")["spec"]["template"]["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    probes = {name: container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert {probe["port"] for probe in probes.values()} <= ports
    assert probes["livenessProbe"]["path"] == "/healthz"
    assert probes["readinessProbe"]["path"] == "/readyz"


def test_another_configuration_rolls_the_pods(render: Render) -> None:
    def checksum(values: Object) -> str:
        template = find(render(values), "Deployment")["spec"]["template"]
        return str(template["metadata"]["annotations"]["checksum/config"])

    assert checksum({}) == checksum({})
    assert checksum({}) != checksum({"accelerators": {"cpu": {"image": "trainer:2"}}})


def test_a_digest_goes_before_the_tag(render: Render) -> None:
    digest = f"sha256:{'0' * 64}"
    objects = render({"image": {"repository": "example.org/operator", "tag": "1", "digest": digest}})
    (container,) = find(objects, "Deployment")["spec"]["template"]["spec"]["containers"]
    assert container["image"] == f"example.org/operator@{digest}"


def test_several_replicas_get_a_budget_and_are_spread(render: Render) -> None:
    assert "PodDisruptionBudget" not in kinds(render())
    objects = render({"replicas": 2})
    assert find(objects, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    pod = find(objects, "Deployment")["spec"]["template"]["spec"]
    assert pod["topologySpreadConstraints"][0]["topologyKey"] == "kubernetes.io/hostname"


def test_pull_secrets_reach_the_pod(render: Render) -> None:
    pod = find(render({"imagePullSecrets": ["mine"]}), "Deployment")["spec"]["template"]["spec"]
    assert pod["imagePullSecrets"] == [{"name": "mine"}]


def test_a_service_monitor_is_made_only_when_asked_for(render: Render) -> None:
    assert "ServiceMonitor" not in kinds(render())
    objects = render({"metrics": {"serviceMonitor": {"enabled": True}}})
    monitor, service = find(objects, "ServiceMonitor"), find(objects, "Service")
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert monitor["spec"]["endpoints"][0]["port"] == service["spec"]["ports"][0]["name"]


def test_a_service_monitor_without_a_service_is_refused(render: Render) -> None:
    values = {"metrics": {"service": {"enabled": False}, "serviceMonitor": {"enabled": True}}}
    with pytest.raises(AssertionError, match=r"metrics\.service\.enabled"):
        render(values)


def test_the_crds_come_with_the_chart_and_stay(render: Render) -> None:
    def crds(values: Object) -> list[Object]:
        return [each for each in render(values) if each["kind"] == "CustomResourceDefinition"]

    assert [each["metadata"]["name"] for each in crds({})] == [
        "alignmentjobs.tunesmith.dev",
        "finetunejobs.tunesmith.dev",
    ]
    assert all(each["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for each in crds({}))
    assert all("annotations" not in each["metadata"] for each in crds({"crds": {"keep": False}}))
    assert crds({"crds": {"install": False}}) == []
