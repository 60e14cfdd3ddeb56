"""The roles: exactly what is used, in the namespaces that are watched, and for people by aggregation."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

Object = dict[str, Any]
Render = Callable[..., list[Object]]
USED = {
    ("tunesmith.dev", "alignmentjobs"): {"get", "list", "watch"},
    ("tunesmith.dev", "finetunejobs"): {"get", "list", "watch"},
    ("tunesmith.dev", "alignmentjobs/status"): {"patch"},
    ("tunesmith.dev", "finetunejobs/status"): {"patch"},
    ("kubeflow.org", "pytorchjobs"): {"create", "delete", "get", "list", "watch"},
    ("batch", "jobs"): {"create", "delete", "get"},
    ("", "pods"): {"get", "list", "watch"},
    ("", "configmaps"): {"create", "get"},
    ("", "persistentvolumeclaims"): {"create", "get"},
    ("coordination.k8s.io", "leases"): {"get", "list", "watch"},
}


def roles(objects: list[Object], kind: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects if each["kind"] == kind}


def granted(role: Object) -> dict[tuple[str, str], set[str]]:
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_the_operator_may_do_what_it_does_and_nothing_else(rendered: list[Object]) -> None:
    cluster_wide = roles(rendered, "ClusterRole")["tunesmith-tunesmith-system"]
    assert granted(cluster_wide) == USED
    (rule,) = (rule for rule in cluster_wide["rules"] if rule["resources"] == ["leases"])
    assert rule["resourceNames"] == ["tunesmith"]


@pytest.mark.parametrize("values", [{}, {"watchNamespaces": ["a", "b"]}])
def test_no_rule_has_a_wildcard_and_all_are_sorted(values: Object, render: Render) -> None:
    for role in [*roles(render(values), "ClusterRole").values(), *roles(render(values), "Role").values()]:
        for rule in role["rules"]:
            for names in (rule["apiGroups"], rule["resources"], rule["verbs"]):
                assert "*" not in names
                assert all(first < second for first, second in pairwise(names)), (role["metadata"]["name"], names)


def test_watched_namespaces_get_roles_and_nothing_is_cluster_wide(render: Render) -> None:
    objects = render({"watchNamespaces": ["a", "b"], "rbac": {"aggregate": False}})
    assert roles(objects, "ClusterRole") == {}
    assert roles(objects, "ClusterRoleBinding") == {}
    namespaced = [each["metadata"]["namespace"] for each in objects if each["kind"] == "Role" and granted(each) == USED]
    assert namespaced == ["a", "b"]


def test_its_own_namespace_is_read_when_it_is_not_watched(render: Render) -> None:
    own = roles(render({"watchNamespaces": ["a"]}), "Role")["tunesmith-own"]
    assert granted(own)["", "pods"] == {"get", "list", "watch"}
    assert "create" not in granted(own)["kubeflow.org", "pytorchjobs"]
    assert ("", "pods") not in granted(
        roles(render({"watchNamespaces": ["tunesmith-system"]}), "Role")["tunesmith-own"]
    )


def test_every_binding_leads_to_the_operators_account(render: Render) -> None:
    for values in ({}, {"watchNamespaces": ["a", "b"]}, {"serviceAccount": {"name": "mine"}}):
        objects = render(values)
        name = roles(objects, "ServiceAccount").popitem()[0]
        bindings = [each for each in objects if each["kind"].endswith("Binding")]
        assert bindings
        for binding in bindings:
            (subject,) = binding["subjects"]
            assert (subject["name"], subject["namespace"]) == (name, "tunesmith-system")
            kind, role = binding["roleRef"]["kind"], binding["roleRef"]["name"]
            assert any(
                each["kind"] == kind
                and each["metadata"]["name"] == role
                and each["metadata"].get("namespace") == binding["metadata"].get("namespace")
                for each in objects
            )


def test_the_two_kinds_join_the_clusters_own_roles(rendered: list[Object]) -> None:
    found = roles(rendered, "ClusterRole")
    for name in ("view", "edit", "admin"):
        labels = found[f"tunesmith-{name}"]["metadata"]["labels"]
        assert labels[f"rbac.authorization.k8s.io/aggregate-to-{name}"] == "true"
    viewer = granted(found["tunesmith-view"])
    assert all(verbs <= {"get", "list", "watch"} for verbs in viewer.values())
    editor = granted(found["tunesmith-edit"])
    assert editor["tunesmith.dev", "finetunejobs"] >= {"create", "delete", "patch", "update"}
    assert not any("patch" in verbs for (_, resource), verbs in editor.items() if resource.endswith("/status"))


def test_leases_are_written_in_the_operators_namespace_only(rendered: list[Object]) -> None:
    (role,) = roles(rendered, "Role").values()
    assert {rule["resources"][0] for rule in role["rules"]} == {"leases"}
    assert role["metadata"]["namespace"] == "tunesmith-system"
    named = [rule for rule in role["rules"] if set(rule["verbs"]) != {"create"}]
    assert all(rule["resourceNames"] == ["tunesmith"] for rule in named)
