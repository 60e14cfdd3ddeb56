"""Volumes of the trainer pods and where they are mounted."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith_api import pod
from tunesmith_api.naming import run_config_name
from tunesmith_api.v1alpha1.status import VolumePath

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunesmith_api.run import FrozenRun
    from tunesmith_api.v1alpha1.chat_template import ChatTemplate
    from tunesmith_api.v1alpha1.data_sources import Function
    from tunesmith_api.v1alpha1.datasets import Dataset

_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - the pod's own memory disk, where torch's workers meet


@dataclass(frozen=True)
class Mounted:
    """A volume of the pod and its mounts in the trainer container, as the pod spec spells them."""

    volume: dict[str, Any]
    mounts: tuple[dict[str, Any], ...]


def mounted(run: FrozenRun) -> tuple[Mounted, ...]:
    """Return every volume of a trainer pod: the run, claims, ConfigMaps, scratch folders, then the user's own."""
    return (
        _run_config(run),
        *_claims(run),
        *_config_maps(run),
        _scratch("tunesmith-tmp", pod.TEMPORARY_DIRECTORY, {}),
        _scratch("tunesmith-home", pod.HOME_DIRECTORY, {}),
        _scratch("tunesmith-shm", _SHARED_MEMORY, {"medium": "Memory", "sizeLimit": run.profile.shared_memory}),
        *_overlay(run),
    )


def _run_config(run: FrozenRun) -> Mounted:
    name = run_config_name(run.kind, run.name, run.run_id)
    return Mounted(
        {"name": "tunesmith-run", "configMap": {"name": name}},
        ({"name": "tunesmith-run", "mountPath": pod.RUN_DIRECTORY, "readOnly": True},),
    )


def _claims(run: FrozenRun) -> Iterator[Mounted]:
    """Mount each claim once, whatever it is used for; only those of the output and the cache can be written to."""
    output, cache = run.output.claim, run.spec.model.cache
    written = {output} | ({cache.claim_name} if cache else set())
    tokenizer, chat_template = run.spec.model.tokenizer, run.spec.model.chat_template
    used = {dataset.claim.name for dataset in _datasets(run) if dataset.claim is not None}
    places = [place for model in (run.model, *run.auxiliary_models) for place in (model.base, model.adapter)]
    used |= {place.claim for place in places if isinstance(place, VolumePath)}
    used |= {tokenizer.path.claim} if tokenizer and tokenizer.path else set()
    used |= {chat_template.claim.name} if chat_template and chat_template.claim else set()
    for index, claim in enumerate((output, *sorted((used | written) - {output}))):
        name = f"tunesmith-claim-{index}"
        # Read-only at the mount, not at the volume: a claim that pods mount both ways at once stays attachable.
        mount: dict[str, Any] = {"name": name, "mountPath": pod.claim_path(claim)}
        if claim not in written:
            mount["readOnly"] = True
        yield Mounted({"name": name, "persistentVolumeClaim": {"claimName": claim}}, (mount,))


def _config_maps(run: FrozenRun) -> Iterator[Mounted]:
    keys: dict[str, set[str]] = {}
    blocks: list[Dataset | Function | ChatTemplate] = [*_datasets(run), *run.spec.functions.values()]
    blocks += [run.spec.model.chat_template] if run.spec.model.chat_template else []
    for block in blocks:
        if block.config_map is not None:
            keys.setdefault(block.config_map.name, set()).add(block.config_map.key)
    for index, config_map in enumerate(sorted(keys)):
        name = f"tunesmith-configmap-{index}"
        items = [{"key": key, "path": key} for key in sorted(keys[config_map])]
        yield Mounted(
            {"name": name, "configMap": {"name": config_map, "items": items}},
            ({"name": name, "mountPath": f"{pod.CONFIGMAPS_DIRECTORY}/{config_map}", "readOnly": True},),
        )


def _scratch(name: str, path: str, source: dict[str, Any]) -> Mounted:
    return Mounted({"name": name, "emptyDir": source}, ({"name": name, "mountPath": path},))


def _overlay(run: FrozenRun) -> Iterator[Mounted]:
    """Add the user's volumes; names that ours take are changed, on both ends."""
    template = run.spec.pod_template
    for index, volume in enumerate((template.volumes if template else None) or ()):
        name = f"user-{index}" if volume.name.startswith("tunesmith-") else volume.name
        mounts = [mount for mount in (template.volume_mounts if template else None) or () if mount.name == volume.name]
        yield Mounted(
            {**volume.to_wire(), "name": name},
            tuple({**mount.to_wire(), "name": name} for mount in mounts),
        )


def _datasets(run: FrozenRun) -> tuple[Dataset, ...]:
    return tuple(itertools.chain.from_iterable(run.spec.all_datasets.values()))
