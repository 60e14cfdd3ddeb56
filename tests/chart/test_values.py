"""The values: what is accepted, what is refused, and that nobody gets an image that can change under them."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith_api.profile import AcceleratorProfile


def test_lint_is_clean_with_default_values(helm: str, chart: Path) -> None:
    result = subprocess.run((helm, "lint", "--strict", chart), capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("case", ["minimal", "full", "namespaced"])
def test_every_case_of_values_lints_and_renders(case: str, helm: str, chart: Path) -> None:
    values = ("--values", chart / "ci" / f"{case}-values.yaml")
    for command in (("lint", "--strict", chart), ("template", "tunesmith", chart)):
        result = subprocess.run((helm, *command, *values), capture_output=True, text=True, check=False, timeout=60)
        assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"replica": 2}, "replica"),
        ({"image": {"tags": "1"}}, "tags"),
        ({"image": {"tag": "latest"}}, "/image/tag"),
        ({"image": {"digest": "sha256:short"}}, "digest"),
        ({"accelerators": {"cpu": {"imagePullPolcy": "Never"}}}, "imagePullPolcy"),
        ({"accelerators": {"tpu": {"device": "tpu", "image": "trainer:1"}}}, "device"),
        ({"accelerators": {"mine": {"device": "cpu"}}}, "image"),
        ({"accelerators": {"cuda": {"deviceMemory": "80 GB"}}}, "deviceMemory"),
        ({"accelerators": {"Not_A_Name": {"device": "cpu", "image": "trainer:1"}}}, "Not_A_Name"),
        ({"podSecurityContext": {"runAsUser": 0}}, "runAsUser"),
        ({"podSecurityContext": {"runAsNonRoot": False}}, "runAsNonRoot"),
        ({"settings": {"progresInterval": 5}}, "progresInterval"),
        ({"watchNamespaces": ["two names"]}, "watchNamespaces"),
    ],
)
def test_a_mistake_in_the_values_is_refused_by_name(values: dict[str, Any], told: str, helm: str, chart: Path) -> None:
    command = (helm, "template", "tunesmith", chart, "--values", "-")
    result = subprocess.run(command, input=json.dumps(values), capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode != 0
    assert told in result.stderr


def test_the_schema_knows_exactly_the_fields_of_a_profile(chart: Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
    fields = {field.alias for field in AcceleratorProfile.model_fields.values()} - {"name"}
    assert set(schema["$defs"]["profile"]["properties"]) == fields


def test_the_schema_describes_every_default_value(chart: Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((chart / "values.yaml").read_text(encoding="utf-8"))
    assert set(schema["properties"]) - {"global"} == set(values)


def test_no_image_is_called_latest_or_has_no_version(rendered: list[dict[str, Any]]) -> None:
    images = re.findall(r"image: ([^\s\\]+)", yaml.safe_dump_all(rendered))
    assert len(images) == 3
    assert all(re.search(r"(:\d+\.\d+\.\d+|@sha256:[0-9a-f]{64})$", image) for image in images), images
