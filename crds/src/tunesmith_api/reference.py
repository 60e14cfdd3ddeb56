"""The API reference, a Markdown page: every block of the API in a table, then the vocabulary of the status."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_api.base import REMEDY, VALIDATIONS
from tunesmith_api.crd import printer_columns
from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.labels import API_VERSION
from tunesmith_api.meta import ConditionType, Reason, State
from tunesmith_api.schema import ABOUT, default_text, inlined, whole
from tunesmith_api.v1alpha1.jobs import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tunesmith_api.meta import Word
    from tunesmith_api.schema import Json
    from tunesmith_api.v1alpha1.jobs import Job

_INTRODUCTION = f"""\
<!-- Generated from the models in crds/src/tunesmith_api by `make generate`. Do not edit. -->
# API reference: `{API_VERSION}`

The custom resources of Tunesmith. `kubectl explain finetunejob.spec` shows the same on a cluster. The
CustomResourceDefinitions are the YAML files beside this page; the chart installs them.

The API server refuses unknown fields, values out of bounds and what the checks below each table name; try a file with
`kubectl apply --dry-run=server -f job.yaml`. What needs other objects or the installation's accelerator profiles is
told by the condition `Ready` before any pod exists. Defaults are not written into your object: they are taken, and
frozen, when a run starts. A started spec is immutable but for `runPolicy`, unless a new `runId` starts a fresh run.
"""
_EXAMPLE = f"""\
```yaml
apiVersion: {API_VERSION}
kind: FineTuneJob
metadata:
  name: my-adapter
spec:
  method: sft
  model:
    path: {{claim: models, path: llama}}
  datasets:
    - claim: {{name: data, path: train.jsonl}}
  peft:
    lora: {{r: 16}}
  accelerator: cuda
```
"""


def reference() -> str:
    """Return the page."""
    return (
        "\n".join(
            (
                _INTRODUCTION,
                "## Kinds\n",
                _kinds(),
                _EXAMPLE,
                "`kubectl get` shows:\n",
                _columns(),
                *_blocks_of("spec", "## Spec\n"),
                *_blocks_of("status", "## Status\n"),
                "## Conditions\n",
                _words(ConditionType, "Type"),
                "## Reasons\n",
                "Of the conditions; a job that the trainer ended for good takes its reason from the exit code.\n",
                _words(Reason, "Reason"),
                "## States\n",
                _words(State, "State"),
                "## Exit codes\n",
                "Of the trainer. Below 128 permanent: another attempt would end the same way. From 128 on retryable.\n",
                _exit_codes(),
            )
        ).rstrip()
        + "\n"
    )


def _kinds() -> str:
    rows = (
        (f"`{job.kind()}`", f"`{job.plural}`, `{job.short}`", _methods(job), _line(job.__doc__ or "")) for job in KINDS
    )
    return _table(("Kind", "Names for kubectl", "Methods", "Purpose"), rows)


def _columns() -> str:
    # One kind shows all that the other does, and more.
    columns = max(map(printer_columns, KINDS), key=len)
    rows = ((f"{column['name']}{' (`-o wide`)' * column['priority']}", column["description"]) for column in columns)
    return _table(("Column", "Shows"), rows)


def _methods(job: type[Job]) -> str:
    return _values(inlined(job)["properties"]["spec"]["properties"]["method"])


def _values(node: Json) -> str:
    values = node.get("enum") or ([node["const"]] if "const" in node else [])
    return ", ".join(f"`{value}`" for value in values)


def _blocks_of(part: str, heading: str) -> Iterator[str]:
    """Yield the sections of all blocks below `spec` or `status` of both kinds, each block once."""
    places: dict[str, list[str]] = {}
    blocks: dict[str, Json] = {}
    for job in KINDS:
        for path, node in _walk(inlined(job)["properties"][part], part):
            blocks.setdefault(node["title"], node)
            known = places.setdefault(node["title"], [])
            known.extend([path] if path not in known else [])
    yield heading
    for name, node in blocks.items():
        yield _block(name, node, places[name])


def _walk(node: Json, path: str) -> Iterator[tuple[str, Json]]:
    if "properties" in node:
        yield path, node
        for name, child in node["properties"].items():
            yield from _walk(child, f"{path}.{name}")
    elif node.get("type") == "array":
        yield from _walk(node["items"], f"{path}[]")
    elif isinstance(node.get("additionalProperties"), dict):
        yield from _walk(node["additionalProperties"], f"{path}.*")


def _block(name: str, node: Json, paths: list[str]) -> str:
    required = node.get("required", ())
    rows = (_row(field, child, required=field in required) for field, child in node["properties"].items())
    lines = [
        f"### {name}\n",
        f"{', '.join(f'`{path}`' for path in paths)}. {_line(node.get(ABOUT) or node['description'])}\n",
        _table(("Field", "Type", "Default", "Bounds", "Description"), rows),
    ]
    if VALIDATIONS in node:
        lines += ["Checked:\n", *(f"- {_rule(rule)}" for rule in node[VALIDATIONS]), ""]
    return "\n".join(lines)


def _line(text: str) -> str:
    return " ".join(text.split())


def _rule(rule: Json) -> str:
    path = rule.get("fieldPath", "").removeprefix(".")
    return f"`{path}`: {rule['message']}" if path else str(rule["message"])


def _row(name: str, node: Json, *, required: bool) -> tuple[str, ...]:
    default = default_text(node)
    return (
        f"`{name}`",
        _type(node),
        "**required**" if required else f"`{default}`" if default else "",
        _bounds(node),
        _line(node.get("description", "")),
    )


def _type(node: Json) -> str:
    if node.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "properties" in node:
        return f"[{node['title']}](#{node['title'].lower()})"
    if node.get("type") == "array":
        return f"list of {_type(node['items'])}"
    if node.get("type") == "object":
        return f"map of string to {_type(node['additionalProperties'])}"
    return "time" if node.get("format") == "date-time" else str(node["type"])


def _bounds(node: Json) -> str:
    """Return what a value must satisfy, in words; a remedy repeats its bounds and is told by the API server alone."""
    parts = [
        _values(node),
        f"> {_number(node['exclusiveMinimum'])}" if "exclusiveMinimum" in node else "",
        _between(node.get("minimum"), node.get("maximum"), ""),
        f"< {_number(node['exclusiveMaximum'])}" if "exclusiveMaximum" in node else "",
        _between(node.get("minLength"), node.get("maxLength"), " characters") if "format" not in node else "",
        _between(node.get("minItems"), node.get("maxItems"), " items"),
        _between(node.get("minProperties"), node.get("maxProperties"), " entries"),
    ]
    if "properties" not in node:
        parts += [rule["message"] for rule in node.get(VALIDATIONS, ()) if REMEDY not in node]
    return "; ".join(part for part in parts if part)


def _between(low: float | None, high: float | None, unit: str) -> str:
    if low is not None and high is not None:
        return f"{_number(low)} to {_number(high)}{unit}"
    if low is not None:
        return f"≥ {_number(low)}{unit}"
    return f"≤ {_number(high)}{unit}" if high is not None else ""


def _number(value: float) -> str:
    return str(whole(value))


def _words(vocabulary: type[Word], title: str) -> str:
    return _table((title, "Meaning"), ((f"`{word.value}`", word.meaning) for word in vocabulary))


def _exit_codes() -> str:
    rows = ((str(code.value), f"`{code.reason}`", "yes" if code.retryable else "no", code.meaning) for code in ExitCode)
    return _table(("Code", "Reason", "Retryable", "Meaning"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines) + "\n"
