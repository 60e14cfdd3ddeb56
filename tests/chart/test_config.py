"""The ConfigMap against the operator's own settings: what the chart writes is what the operator reads."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith_operator.settings import Settings, load

Object = dict[str, Any]
Render = Callable[..., list[Object]]


@pytest.fixture
def read(render: Render, tmp_path: Path) -> Callable[[Object], Settings]:
    """Renders the chart with values and reads its configuration as the operator does."""

    def run(values: Object) -> Settings:
        (config,) = (each for each in render(values) if each["kind"] == "ConfigMap")
        file = tmp_path / "config.yaml"
        file.write_text(config["data"]["config.yaml"], encoding="utf-8")
        return load(file)

    return run


def test_the_default_configuration_ships_two_profiles(read: Callable[[Object], Settings]) -> None:
    settings = read({})
    assert sorted(settings.accelerators) == ["cpu", "cuda"]
    assert settings.accelerators["cpu"].image == "tunesmith/trainer-cpu:0.1.0"
    assert settings.accelerators["cuda"].resource_name == "nvidia.com/gpu"
    assert settings.accelerators["cuda"].tolerations[0].key == "nvidia.com/gpu"
    assert settings.lease_name == "tunesmith"
    assert settings.watch_namespaces == ()
    assert not settings.policy.remote_code


def test_one_field_of_a_shipped_profile_can_be_set_alone(read: Callable[[Object], Settings]) -> None:
    changed = read({"accelerators": {"cuda": {"image": "mine:1"}}}).accelerators["cuda"]
    shipped = read({}).accelerators["cuda"]
    assert changed == shipped.model_copy(update={"image": "mine:1"})


def test_a_shipped_profile_can_be_removed_and_another_added(read: Callable[[Object], Settings]) -> None:
    mine = {"device": "cpu", "image": "mine:1", "env": {"A": "b"}, "securityContext": {"runAsUser": 1000}}
    settings = read({"accelerators": {"cuda": None, "mine": mine}})
    assert sorted(settings.accelerators) == ["cpu", "mine"]
    assert settings.accelerators["mine"].env == {"A": "b"}
    assert settings.accelerators["mine"].security_context == {"runAsUser": 1000}


def test_settings_are_passed_on(read: Callable[[Object], Settings]) -> None:
    chosen = {"pollSeconds": 2.5, "workers": 4, "logFormat": "json", "leaseDurationSeconds": 30}
    settings = read({"settings": chosen, "watchNamespaces": ["a", "b"]})
    assert settings.model_dump(by_alias=True, include={"poll_seconds", "workers", "log_format"}) == {
        "pollSeconds": 2.5,
        "workers": 4,
        "logFormat": "json",
    }
    assert settings.lease_duration_seconds == 30
    assert settings.watch_namespaces == ("a", "b")


def test_a_policy_is_passed_on(read: Callable[[Object], Settings]) -> None:
    for field in ("remoteCode", "userCode"):
        policy = read({"policy": {field: True}}).policy.to_wire()
        assert [name for name, allowed in policy.items() if allowed] == [field]


def test_the_schema_knows_exactly_the_settings_that_the_chart_does_not_set_itself(chart: Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
    fields = {field.alias for field in Settings.model_fields.values()}
    fixed = {"accelerators", "policy", "watchNamespaces", "leaseName", "httpPort"}
    assert set(schema["$defs"]["settings"]["properties"]) == fields - fixed
