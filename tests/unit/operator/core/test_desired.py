"""What a frozen run makes exist, beside what the golden cases show."""

from typing import Any

import pytest
import scenario

from tunesmith_api import pod
from tunesmith_api.run import FrozenRun
from tunesmith_operator.accelerators.quantities import whole_cores
from tunesmith_operator.desired import run_config
from tunesmith_operator.desired.child import child
from tunesmith_operator.desired.claim import claims
from tunesmith_operator.inputs import JobKey

KEY = JobKey("FineTuneJob", "team", "tiny")


def frozen(
    profile: dict[str, Any] | None = None, *, version: str = "1", kind: str = "FineTuneJob", **spec: Any
) -> FrozenRun:
    job = scenario.whole_job(
        {
            "kind": kind,
            "metadata": {"name": "tiny"},
            "spec": {
                "method": "sft", "accelerator": "cpu", "model": {"path": {"claim": "models", "path": "m"}},
                "datasets": [{"claim": {"name": "data", "path": "p"}}], **spec,
            },
        }
    )  # fmt: skip
    profiles = {"cpu": {**scenario.PROFILES["cpu"], **(profile or {})}}
    return scenario.frozen_run(JobKey(kind, KEY.namespace, KEY.name), job, profiles, version=version, jobs={})


def pod_spec(run: FrozenRun) -> dict[str, Any]:
    spec: dict[str, Any] = child(run, 1)["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    return spec


def container(run: FrozenRun) -> dict[str, Any]:
    found: dict[str, Any] = pod_spec(run)["containers"][0]
    return found


def test_a_run_config_gives_back_the_run() -> None:
    run = frozen()
    assert run_config.read(run_config.run_config(run)) == run


def test_a_claim_that_is_input_and_output_is_mounted_once_to_be_written() -> None:
    run = frozen(output={"claimName": "data"})
    mounts = [mount for mount in container(run)["volumeMounts"] if mount["mountPath"] == "/tunesmith/claims/data"]
    assert len(mounts) == 1
    assert "readOnly" not in mounts[0]


def test_other_claims_can_not_be_written() -> None:
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container(frozen())["volumeMounts"]}
    assert mounts["/tunesmith/claims/models"]
    assert mounts["/tunesmith/claims/data"]
    assert not mounts["/tunesmith/claims/tiny-ftj"]


def test_every_mount_has_its_volume_and_every_volume_its_mount() -> None:
    spec = pod_spec(frozen(podTemplate={
        "volumes": [{"name": "tunesmith-run", "emptyDir": {}}],
        "volumeMounts": [{"name": "tunesmith-run", "mountPath": "/a"}, {"name": "tunesmith-run", "mountPath": "/b"}],
    }))  # fmt: skip
    volumes = [volume["name"] for volume in spec["volumes"]]
    mounts = [mount["name"] for mount in spec["containers"][0]["volumeMounts"]]
    assert len(set(volumes)) == len(volumes)
    assert set(mounts) == set(volumes)
    paths = [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]]
    assert len(set(paths)) == len(paths)


def test_claims_are_labelled_and_never_owned() -> None:
    model = {"name": "team/tiny", "cache": {"claimName": "models"}}
    output, cache = (claim["metadata"] for claim in claims(frozen(model=model)))
    assert "ownerReferences" not in output.keys() | cache.keys()
    assert output["labels"]["tunesmith.dev/job-name"] == "tiny"
    assert cache["labels"] == {
        "app.kubernetes.io/managed-by": "tunesmith",
        "app.kubernetes.io/component": "hub-cache",
    }, "no job's: all share it"


def test_a_cache_on_the_output_claim_is_made_once_and_mounted_once() -> None:
    run = frozen(model={"name": "team/tiny", "cache": {"claimName": "results"}}, output={"claimName": "results"})
    assert len(list(claims(run))) == 1
    assert [m["mountPath"] for m in container(run)["volumeMounts"]].count("/tunesmith/claims/results") == 1


@pytest.mark.parametrize(
    ("source", "mounts"),
    [
        ({"claim": {"name": "shared", "path": "chat.jinja"}}, {"/tunesmith/claims/shared", "/tunesmith/claims/tokens"}),
        ({"configMap": {"name": "shared", "key": "k"}}, {"/tunesmith/configmaps/shared", "/tunesmith/claims/tokens"}),
    ],
)
def test_a_tokenizer_and_a_chat_template_are_mounted(source: dict[str, Any], mounts: set[str]) -> None:
    model = {"name": "team/tiny", "tokenizer": {"path": {"claim": "tokens"}}, "chatTemplate": source}
    found = {mount["mountPath"]: mount.get("readOnly") for mount in container(frozen(model=model))["volumeMounts"]}
    assert mounts <= found.keys()
    assert all(found[path] for path in mounts)


def test_the_token_reaches_the_pods_as_a_reference_alone() -> None:
    run = frozen(
        model={"name": "team/tiny", "tokenSecretRef": {"name": "hub"}},
        podTemplate={"env": [{"name": "HF_TOKEN", "value": "another"}]},
    )
    (token,) = (variable for variable in container(run)["env"] if variable["name"] == "HF_TOKEN")
    assert token == {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}


def test_keys_of_servers_reach_the_pods_as_references_alone() -> None:
    bucket = {"uri": {"url": "s3://data/a.jsonl", "secretRef": {"name": "bucket"}}}
    web = {"uri": {"url": "https://example.com/b.jsonl", "secretRef": {"name": "web"}}}
    run = frozen(datasets=[bucket, {"uri": {"url": "s3://public/c.jsonl"}}], evaluation={"datasets": [web, bucket]})
    found = {
        variable["name"]: variable["valueFrom"]["secretKeyRef"]
        for variable in container(run)["env"]
        if variable["name"].startswith("TUNESMITH_SECRET_")
    }
    assert list(found.values()) == [
        {"name": "bucket", "key": "AWS_ACCESS_KEY_ID"},
        {"name": "bucket", "key": "AWS_SECRET_ACCESS_KEY"},
        {"name": "bucket", "key": "AWS_SESSION_TOKEN", "optional": True},
        {"name": "web", "key": "token"},
    ]
    assert pod.secret_variable("web", "token") in found


_CODE = {"configMap": {"name": "code", "key": "alpaca.py"}, "function": "prompt"}
_BUILT = {"claim": {"name": "data", "path": "p"}, "promptFunction": _CODE, "completionTemplate": "{a}"}


@pytest.mark.parametrize(
    "wanted",
    [
        {"datasets": [_BUILT], "evaluation": {"datasets": [_BUILT]}},
        {"kind": "AlignmentJob", "method": "grpo", "rewards": [{"name": "own", "function": _CODE}]},
    ],
)
def test_code_is_mounted_where_the_trainer_looks_for_it(wanted: dict[str, Any]) -> None:
    spec = pod_spec(frozen(**wanted))
    (volume,) = (volume for volume in spec["volumes"] if volume.get("configMap", {}).get("name") == "code")
    assert volume["configMap"]["items"] == [{"key": "alpaca.py", "path": "alpaca.py"}]
    (mount,) = (m for m in spec["containers"][0]["volumeMounts"] if m["name"] == volume["name"])
    assert (mount["mountPath"], mount["readOnly"]) == ("/tunesmith/configmaps/code", True)


def test_the_child_leaves_retries_deadline_and_ttl_to_us() -> None:
    spec = child(frozen(), 1)["spec"]
    assert spec["runPolicy"] == {"cleanPodPolicy": "Running"}
    assert spec["nprocPerNode"] == "1"
    assert spec["pytorchReplicaSpecs"].keys() == {"Worker"}


def environment(run: FrozenRun) -> dict[str, Any]:
    variables = container(run)["env"]
    names = [variable["name"] for variable in variables]
    assert len(set(names)) == len(names)
    return {variable["name"]: variable.get("value") for variable in variables}


def test_a_user_overrides_the_profile_and_neither_overrides_what_the_trainer_needs() -> None:
    run = frozen(
        {"env": {"A": "profile", "B": "profile", "HOME": "/root", "PET_NNODES": "9"}},
        podTemplate={"env": [{"name": "A", "value": "user"}, {"name": "TMPDIR", "value": "/x"}]},
    )
    found = environment(run)
    assert (found["A"], found["B"]) == ("user", "profile")
    assert (found["HOME"], found["TMPDIR"], found["PET_NNODES"]) == ("/home/tunesmith", "/tmp", "1")


@pytest.mark.parametrize(
    ("resources", "processes", "threads"),
    [
        ({}, 1, None),
        ({}, 2, "1"),
        ({"limits": {"cpu": "4"}}, 1, "4"),
        ({"limits": {"cpu": "4"}}, 2, "2"),
        ({"requests": {"cpu": "2500m"}}, 1, "2"),
        ({"requests": {"cpu": 8}, "limits": {"cpu": 4}}, 1, "4"),
        ({"limits": {"cpu": "500m"}}, 1, "1"),
    ],
)
def test_threads_of_a_cpu_process(resources: dict[str, Any], processes: int, threads: str | None) -> None:
    run = frozen(resourcesPerNode=resources, numProcPerNode=processes)
    assert environment(run).get("OMP_NUM_THREADS") == threads


@pytest.mark.parametrize(("quantity", "cores"), [("2", 2), (3, 3), ("1500m", 1), ("2.5", 2), ("1k", 1000), ("junk", 1)])
def test_cores(quantity: str | int, cores: int) -> None:
    assert whole_cores(quantity) == cores


def test_who_froze_a_run_and_its_policy_make_no_other_run() -> None:
    same = frozen(version="2", runPolicy={"backoffLimit": 9})
    assert run_config.digest(same) == run_config.digest(frozen())
    assert run_config.digest(frozen(training={"seed": 1})) != run_config.digest(frozen())
