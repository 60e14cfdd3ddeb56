import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith_api import generate
from tunesmith_api.crd import build_crd
from tunesmith_api.labels import GROUP, VERSION
from tunesmith_api.v1alpha1.jobs import KINDS, Job

Json = dict[str, Any]
_LARGEST_FOR_CLIENT_SIDE_APPLY = 256 * 1024  # bytes; kubectl apply keeps a copy as JSON in an annotation

each_kind = pytest.mark.parametrize("job", KINDS, ids=lambda job: str(job.kind()))


def schema_of(job: type[Job]) -> Json:
    """Return the CRD's schema."""
    schema: Json = crd_of(job)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return schema


@cache
def crd_of(job: type[Job]) -> Json:
    """Return the kind's CRD, built once."""
    return build_crd(job)


def nodes(schema: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Yield every part of the schema that describes a value, with its field path."""
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for keyword, mark in (("items", "[]"), ("additionalProperties", ".*")):
        if keyword in schema:
            yield from nodes(schema[keyword], path + mark)


def block(job: type[Job], name: str) -> Iterator[tuple[str, Json]]:
    """Yield every part of `spec` or `status`."""
    return nodes(schema_of(job)["properties"][name], name)


def test_generated_files_are_up_to_date(
    repository: Path, generated: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generate, "files", lambda: generated)
    assert not generate.stale(repository).keys(), "run `make generate`"


def texts(node: Json) -> Iterator[str]:
    """Yield what a part of the schema tells users."""
    yield node.get("description", "")
    for rule in node.get("x-kubernetes-validations", ()):
        yield rule["message"]


def test_every_field_that_a_description_or_message_names_exists() -> None:
    parts = [part for job in KINDS for part in block(job, "spec")]
    known = {re.sub(r"^spec\.?|\[\]|\.\*", "", path) for path, _ in parts}
    first = "|".join({path.split(".")[0] for path in known} - {""})
    field = re.compile(rf"(?<![\w.])(?:spec\.)?((?:{first})(?:\.[a-z]\w*)++)(?!/)")
    assert {name for _, node in parts for text in texts(node) for name in field.findall(text)} <= known


@each_kind
def test_names_of_the_kind(job: type[Job]) -> None:
    crd = crd_of(job)
    assert crd["metadata"]["name"] == f"{job.plural}.{GROUP}"
    assert crd["spec"]["scope"] == "Namespaced"
    assert crd["spec"]["names"]["shortNames"] == [job.short]
    assert crd["spec"]["names"]["categories"] == ["tunesmith"]
    version = crd["spec"]["versions"][0]
    assert version["name"] == VERSION
    assert version["subresources"] == {"status": {}}


@each_kind
def test_kubectl_get_shows_method_model_state_progress_figures_eta_and_age(job: type[Job]) -> None:
    columns = crd_of(job)["spec"]["versions"][0]["additionalPrinterColumns"]
    shown = [column["name"] for column in columns if column["priority"] == 0]
    figures = {"FineTuneJob": ["Loss"], "AlignmentJob": ["Loss", "Reward"]}[job.kind()]
    assert shown == ["Method", "Model", "State", "Progress(%)", *figures, "ETA(s)", "Age"]
    known = {path for path, _ in nodes(schema_of(job))} | {".metadata.creationTimestamp"}
    for column in columns:
        path = re.sub(r"\[[^\]]*\]", "[]", column["jsonPath"])
        assert path in known, f"column {column['name']} shows a field that does not exist"


@each_kind
def test_every_field_is_described(job: type[Job]) -> None:
    for part in ("spec", "status"):
        for path, node in block(job, part):
            leaf = path.endswith((".*", "[]"))
            assert leaf or len(node.get("description", "")) > 3, f"{path} has no description"


@each_kind
@pytest.mark.parametrize("part", ["spec", "status"])
def test_strings_lists_and_maps_are_bounded(job: type[Job], part: str) -> None:
    for path, node in block(job, part):
        if node.get("x-kubernetes-int-or-string"):
            assert "maxLength" in node, path
        elif node["type"] == "string":
            assert {"maxLength", "enum"} & node.keys(), f"{path} has no longest length"
        elif node["type"] == "array":
            assert {"maxItems", "x-kubernetes-list-type"} <= node.keys(), f"{path} has no largest size"
        elif "additionalProperties" in node:
            assert "maxProperties" in node, f"{path} has no largest size"


@each_kind
def test_numbers_of_the_spec_are_bounded(job: type[Job]) -> None:
    for path, node in block(job, "spec"):
        if node.get("type") in {"integer", "number"}:
            assert {"minimum", "maximum", "format"} <= node.keys(), f"{path} lacks a bound"


@each_kind
def test_the_schema_is_structural(job: type[Job]) -> None:
    allowed_union = [{"type": "integer"}, {"type": "string"}]
    for path, node in nodes(schema_of(job)):
        assert not {"$ref", "allOf", "oneOf", "not", "const", "title", "default", "nullable"} & node.keys(), path
        assert "x-kubernetes-preserve-unknown-fields" not in node, path
        assert ("type" in node) != ("x-kubernetes-int-or-string" in node), path
        assert node.get("anyOf", allowed_union) == allowed_union, path
        assert not ("properties" in node and "additionalProperties" in node), path
        assert set(node.get("required", ())) <= node.get("properties", {}).keys(), path


@each_kind
def test_rules_say_what_is_wrong_and_where(job: type[Job]) -> None:
    for path, node in nodes(schema_of(job)):
        for rule in node.get("x-kubernetes-validations", ()):
            assert 10 < len(rule["message"]) <= 2048, path
            below = node
            for name in rule.get("fieldPath", "").removeprefix(".").split("."):
                below = below["properties"][name] if name else below


@each_kind
def test_no_rule_is_stated_twice(job: type[Job]) -> None:
    """The API server takes them for a map by rule, and server-side apply refuses the second."""
    for path, node in nodes(schema_of(job)):
        rules = [rule["rule"] for rule in node.get("x-kubernetes-validations", ())]
        assert len(set(rules)) == len(rules), path


@each_kind
def test_fields_that_cel_has_words_for_are_escaped(job: type[Job]) -> None:
    """The API server refuses the CRD otherwise; see the Kubernetes documentation of validation rules."""
    words = re.compile(
        r"[.](as|break|const|continue|else|false|for|function|if|import|in|let|loop|namespace|null|package"
        r"|return|true|var|void|while)\b"
    )
    for path, node in nodes(schema_of(job)):
        for rule in node.get("x-kubernetes-validations", ()):
            assert not words.search(re.sub("'[^']*'", "''", rule["rule"])), path


@each_kind
def test_the_file_is_the_crd(job: type[Job], generated: dict[str, str]) -> None:
    text = generated[f"crds/{job.plural}.yaml"]
    assert yaml.load(text, Loader=yaml.CSafeLoader) == crd_of(job)
    copy = json.dumps(crd_of(job), separators=(",", ":"), ensure_ascii=False)
    # Go spells these six characters long, such as \u003c.
    assert len(copy.encode()) + 5 * sum(map(copy.count, "&<>")) < _LARGEST_FOR_CLIENT_SIDE_APPLY


@each_kind
def test_the_chart_s_copy_is_the_same_crd(job: type[Job], generated: dict[str, str]) -> None:
    text = generated[f"charts/tunesmith/templates/crd/{job.plural}.yaml"]
    assert text.startswith("{{- if .Values.crds.install }}\n")
    assert text.endswith("{{- end }}\n")
    assert text.count("helm.sh/resource-policy: keep") == 1
    plain = text.replace('{{ "{{" }}', "{{")
    lines = [line for line in plain.splitlines() if not line.strip().startswith(("{{- if", "{{- end"))]
    rendered = yaml.load("\n".join(lines), Loader=yaml.CSafeLoader)
    assert rendered["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert rendered == crd_of(job)


# What the API server says of a schema in words of its own.
OF_THE_SERVER = re.compile(
    "Duplicate value|[Uu]nsupported value|supported values|unknown field|must be of type"
    "|(?:less|greater) than or equal to|should be less than|should have at least"
)


def test_what_a_bad_spec_is_told_is_said_by_a_rule(repository: Path) -> None:
    messages = [
        rule["message"]
        for job in KINDS
        for _, node in nodes(schema_of(job))
        for rule in node.get("x-kubernetes-validations", ())
    ]
    for path in sorted((repository / "tests" / "contract" / "bad").glob("*.yaml")):
        for part in re.findall("^# refused: (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE):
            is_path = re.match(r"(spec|metadata)[.:]|\S+:$", part)
            said = is_path or OF_THE_SERVER.search(part) or any(part in message for message in messages)
            assert said, f"{path.name}: no rule says {part!r}"
