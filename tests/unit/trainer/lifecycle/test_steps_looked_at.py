"""Steps under the profiler, and steps compared with the CPU: what is written, and that training does not notice."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.run import FrozenRun
from tunesmith_trainer.callbacks.verify import _difference

MakeRun = Callable[..., FrozenRun]


@pytest.mark.slow
def test_a_profile_names_the_operators_of_its_steps(pods: Any, work: Any, make_run: MakeRun) -> None:
    run = make_run(reporting={"profile": {"startStep": 3, "steps": 2}})
    pods.write(run)
    assert work(run).exit_code == ExitCode.SUCCESS
    folder = work.folder(run) / "profile"
    assert "aten::mm" in (folder / "operators.txt").read_text(encoding="utf-8")
    with gzip.open(folder / "trace.json.gz") as file:
        events = json.load(file)["traceEvents"]
    optimizer = [event for event in events if str(event.get("name", "")).startswith("Optimizer.step")]
    assert len(optimizer) == 2


@pytest.mark.slow
def test_modules_agree_with_the_cpu_and_training_does_not_notice(pods: Any, work: Any, make_run: MakeRun) -> None:
    plain, verified = (
        make_run(uid="plain"),
        make_run(uid="verified", reporting={"verify": {"startStep": 2, "steps": 2}}),
    )
    for run in (plain, verified):
        pods.write(run)
        assert work(run).exit_code == ExitCode.SUCCESS
    assert work.losses(verified) == work.losses(plain)
    told = json.loads((work.folder(verified) / "verification.json").read_text(encoding="utf-8"))
    modules = {each["module"] for each in told["worst"]}
    assert {"model.embed_tokens", "model.layers.0.self_attn.q_proj", "model.norm", "lm_head"} <= modules
    assert told["steps"] == [2, 3]
    assert told["notCompared"] == {}
    assert all(each["relativeError"] < 1e-5 for each in told["worst"])
    page = (work.folder(verified) / "output/report.html").read_text(encoding="utf-8")
    assert "Modules compared with the CPU" in page
    assert (work.folder(verified) / "output/verification.json").is_file()


@pytest.mark.parametrize(("fault", "relative"), [(0.0, 1e-6), (0.5, 0.1)])
def test_a_module_that_computes_something_else_is_found(fault: float, relative: float) -> None:
    layer = nn.Linear(8, 8)
    inputs = torch.randn(4, 8)
    output = layer(inputs)
    output[0, 0] += fault * float(output.detach().norm())
    found = _difference(layer, (inputs,), {}, output)
    assert found is not None
    assert (found.relative > relative) == bool(fault)
    assert found.dtype == "float32"


def test_bfloat16_shows_its_rounding() -> None:
    layer = nn.Linear(64, 64).bfloat16()
    inputs = torch.randn(4, 64).bfloat16()
    found = _difference(layer, (inputs,), {}, layer(inputs))
    assert found is not None
    assert 1e-4 < found.relative < 1e-2
