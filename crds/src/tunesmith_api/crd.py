"""The CustomResourceDefinitions of both kinds, as YAML for kubectl and as Helm templates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml
from typing_extensions import override

from tunesmith_api.labels import GROUP, VERSION
from tunesmith_api.schema import inlined, structural

if TYPE_CHECKING:
    from tunesmith_api.schema import Json
    from tunesmith_api.v1alpha1.jobs import Job

CATEGORY = "tunesmith"
HEADER = "# Generated from the models in crds/src/tunesmith_api by `make generate`. Do not edit.\n"

_STANDARD_FIELDS: Json = {
    "apiVersion": {
        "description": f"Version of the API: {GROUP}/{VERSION}.",
        "type": "string",
    },
    "kind": {
        "description": "Kind of the object.",
        "type": "string",
    },
    # Declared so that a rule can point at it; the API server knows the rest of metadata itself.
    "metadata": {"type": "object", "properties": {"name": {"type": "string"}}},
}


def _column(name: str, path: str, description: str, *, kind: str = "string", priority: int = 0) -> Json:
    return {"name": name, "type": kind, "jsonPath": path, "description": description, "priority": priority}


_FIGURES = {
    "loss": "Latest training loss.",
    "reward": "Latest mean reward of what the policy writes, where the method has one (AlignmentJob).",
}
_FIRST_COLUMNS = (
    _column("Method", ".spec.method", "How it trains."),
    _column("Model", ".status.model", "What is trained."),
    _column("State", ".status.state", "One word for the whole."),
    _column(
        "Progress(%)", ".status.progress.progressPercentage", "Share of the steps done, in percent.", kind="integer"
    ),
)
_LAST_COLUMNS = (
    _column("ETA(s)", ".status.progress.estimatedRemainingSeconds", "Estimated seconds left.", kind="integer"),
    _column("Age", ".metadata.creationTimestamp", "Time since it was created.", kind="date"),
    _column("Step", ".status.progress.currentStep", "Optimiser steps done.", kind="integer", priority=1),
    _column("Steps", ".status.progress.totalSteps", "Optimiser steps in all.", kind="integer", priority=1),
    _column("Attempt", ".status.attempts[-1:].number", "Number of the newest attempt.", kind="integer", priority=1),
    _column("Claim", ".status.output.claim", "PersistentVolumeClaim of the result.", priority=1),
    _column("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why it is in this state.", priority=1),
)


def printer_columns(job: type[Job]) -> list[Json]:
    """Return what `kubectl get` shows of a kind."""
    figures = (
        _column(name.capitalize(), f'.status.progress.metrics[?(@.name=="{name}")].value', _FIGURES[name])
        for name in job.figures
    )
    return [*_FIRST_COLUMNS, *figures, *_LAST_COLUMNS]


def build_crd(job: type[Job]) -> Json:
    """Return the CustomResourceDefinition of a kind."""
    schema = structural(inlined(job))
    schema["properties"] = {**_STANDARD_FIELDS, **schema["properties"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{job.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": {
                "kind": job.kind(),
                "listKind": f"{job.kind()}List",
                "plural": job.plural,
                "singular": job.singular,
                "shortNames": [job.short],
                "categories": [CATEGORY],
            },
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "additionalPrinterColumns": printer_columns(job),
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}},
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    """Writes equal parts in full each time: YAML anchors help no reader."""

    @override
    def ignore_aliases(self, data: Any) -> bool:
        """Return that nothing is aliased."""
        return True


def to_yaml(manifest: Json) -> str:
    """Return the manifest as YAML, in the order it was built."""
    return yaml.dump(manifest, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def crd_file(job: type[Job]) -> str:
    """Return the content of the CRD's file."""
    return HEADER + to_yaml(build_crd(job))


def helm_template(job: type[Job]) -> str:
    """Return the CRD as a template of the chart: installed, upgraded and kept as its values say."""
    text = to_yaml(build_crd(job)).replace("{{", '{{ "{{" }}')
    head = f"metadata:\n  name: {job.plural}.{GROUP}\n"
    keep = "  {{- if .Values.crds.keep }}\n  annotations:\n    helm.sh/resource-policy: keep\n  {{- end }}\n"
    if text.count(head) != 1:
        raise AssertionError(f"the template of {job.plural} has no place for its annotation")
    body = text.replace(head, head + keep)
    return f"{{{{- if .Values.crds.install }}}}\n{HEADER}{body}{{{{- end }}}}\n"
