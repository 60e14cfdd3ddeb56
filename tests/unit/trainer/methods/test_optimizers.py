"""Every optimiser takes the steps its paper says, goes on from saved state, and gets what the spec tells it."""

import io
import sys
from typing import Any

import numpy as np
import pytest

from tunesmith_api.v1alpha1.training import Training
from tunesmith_api.v1alpha1.training.optimizers import BITSANDBYTES_OPTIMIZERS, OPTIMIZER_DEFAULTS
from tunesmith_trainer.errors import InvalidSpec

RATE, DECAY = 0.01, 0.1
HERE = sorted(OPTIMIZER_DEFAULTS.keys() - BITSANDBYTES_OPTIMIZERS)


def resolved(optim: str, **arguments: Any) -> Training:
    """Return what a resolved spec says; the arguments are those of the optimiser."""
    wire = {"optim": optim, "learningRate": RATE, "weightDecay": DECAY}
    return Training.model_validate(wire | {"optimArgs": {**OPTIMIZER_DEFAULTS[optim], **arguments}})


class Tiny:
    """A model with an embedding, a hidden matrix, a norm, a bias and a head, and gradients drawn in a fixed order."""

    def __init__(self) -> None:
        import torch
        from torch import nn

        class Model(nn.Module):  # type: ignore[misc]  # its base counts as Any
            def __init__(self) -> None:
                super().__init__()
                self.embedding = nn.Embedding(7, 4)
                self.hidden = nn.Linear(4, 6)
                self.norm = nn.LayerNorm(6)
                self.head = nn.Linear(6, 7, bias=False)

            def get_output_embeddings(self) -> nn.Module:
                return self.head

        torch.manual_seed(3)
        self.model = Model()
        self.names = dict(self.model.named_parameters())
        self._drawn = np.random.default_rng(5)

    def optimizer(self, training: Training, **more: Any) -> Any:
        """Return its optimiser; norms and biases do not decay."""
        from tunesmith_trainer.optimizers.build import build_optimizer

        decaying = {"embedding.weight", "hidden.weight", "head.weight"}
        return build_optimizer(self.model, training, decaying, **more)

    def draw(self) -> dict[str, np.ndarray]:
        """Give every parameter a gradient, and return them."""
        import torch

        for parameter in self.names.values():
            parameter.grad = torch.from_numpy(self._drawn.normal(size=parameter.shape).astype(np.float32))
        return {name: parameter.grad.numpy().astype(float) for name, parameter in self.names.items()}

    def values(self) -> dict[str, np.ndarray]:
        """Return the parameters."""
        return {name: parameter.detach().numpy().astype(float) for name, parameter in self.names.items()}


def decay_of(name: str) -> float:
    return 0.0 if "norm" in name or "bias" in name else DECAY


def adam(values: Any, grads: list[Any], *, coupled: bool) -> Any:
    mean = square = np.zeros_like(values)
    for step, drawn in enumerate(grads, start=1):
        grad = drawn + coupled * DECAY * values
        values = values - (not coupled) * RATE * DECAY * values
        mean, square = 0.9 * mean + 0.1 * grad, 0.999 * square + 0.001 * grad**2
        values = values - RATE * (mean / (1 - 0.9**step)) / (np.sqrt(square / (1 - 0.999**step)) + 1e-8)
    return values


def sgd(values: Any, grads: list[Any]) -> Any:
    velocity = None
    for drawn in grads:
        grad = drawn + DECAY * values
        velocity = grad if velocity is None else 0.9 * velocity + grad
        values = values - RATE * (grad + 0.9 * velocity)
    return values


def lion(values: Any, grads: list[Any]) -> Any:
    momentum = np.zeros_like(values)
    for grad in grads:
        update = np.sign(0.8 * momentum + 0.2 * grad)
        values = values - RATE * (update + DECAY * values)
        momentum = 0.95 * momentum + 0.05 * grad
    return values


REFERENCES: dict[str, tuple[dict[str, Any], Any]] = {
    "adamw_torch": ({}, lambda values, grads: adam(values, grads, coupled=False)),
    "adamw_torch_fused": ({}, lambda values, grads: adam(values, grads, coupled=False)),
    "adam": ({}, lambda values, grads: adam(values, grads, coupled=True)),
    "sgd": ({"momentum": 0.9, "nesterov": True}, sgd),
    "lion": ({"beta1": 0.8, "beta2": 0.95}, lion),
}


@pytest.mark.parametrize("optim", REFERENCES)
def test_its_steps_are_those_of_the_formula(optim: str) -> None:
    arguments, formula = REFERENCES[optim]
    tiny = Tiny()
    optimizer, before = tiny.optimizer(resolved(optim, **arguments)), tiny.values()["hidden.weight"]
    grads = []
    for _ in range(4):
        grads.append(tiny.draw()["hidden.weight"])
        optimizer.step()
    assert tiny.values()["hidden.weight"] == pytest.approx(formula(before, grads), abs=1e-6)


def test_sophia_divides_by_the_curvature_and_clips() -> None:
    tiny = Tiny()
    optimizer, expected = tiny.optimizer(resolved("sophia", rho=0.5)), tiny.values()
    momentum = {name: np.zeros_like(value) for name, value in expected.items()}
    curvature = {name: np.zeros_like(value) for name, value in expected.items()}
    clipped = []
    for step in range(6):
        if step % 3 == 0:
            for name, grad in tiny.draw().items():
                curvature[name] = 0.99 * curvature[name] + 0.01 * grad**2 / 20
            optimizer.observe(20)
        for name, grad in tiny.draw().items():
            momentum[name] = 0.96 * momentum[name] + 0.04 * grad
            ratio = momentum[name] / np.maximum(0.5 * curvature[name], 1e-12)
            clipped.append(np.abs(ratio) > 1)
            expected[name] = expected[name] * (1 - RATE * decay_of(name)) - RATE * np.clip(ratio, -1, 1)
        optimizer.step()
    for name, value in tiny.values().items():
        assert value == pytest.approx(expected[name], abs=1e-5), name
    assert 0 < np.concatenate([part.ravel() for part in clipped]).mean() <= 1


def test_muon_orthogonalises_hidden_matrices_and_leaves_the_rest_to_adamw() -> None:
    tiny = Tiny()
    optimizer, before = tiny.optimizer(resolved("muon")), tiny.values()
    grads = tiny.draw()
    optimizer.step()
    after = tiny.values()
    for name in before.keys() - {"hidden.weight"}:
        decay = decay_of(name)
        expected = before[name] * (1 - RATE * decay) - RATE * np.sign(grads[name])
        assert after[name] == pytest.approx(expected, abs=1e-5), name
    update = (before["hidden.weight"] * (1 - RATE * DECAY) - after["hidden.weight"]) / RATE
    singular = np.linalg.svd(update / (0.2 * np.sqrt(6)), compute_uv=False)
    assert singular == pytest.approx(1, abs=0.35), "Newton-Schulz brings them near 1"
    left, _, right = np.linalg.svd(grads["hidden.weight"], full_matrices=False)
    assert np.vdot(update, left @ right) / np.linalg.norm(update) / np.linalg.norm(left @ right) > 0.97


@pytest.mark.parametrize("optim", HERE)
def test_it_goes_on_from_saved_state(optim: str) -> None:
    import torch

    whole, halved = Tiny(), Tiny()
    optimizer, first = whole.optimizer(resolved(optim)), halved.optimizer(resolved(optim))
    for _ in range(3):
        for tiny, steps in ((whole, optimizer), (halved, first)):
            tiny.draw()
            if optim == "sophia":
                steps.observe(9)
            steps.step()
    saved = io.BytesIO()
    torch.save({"model": halved.model.state_dict(), "optimizer": first.state_dict()}, saved)
    saved.seek(0)
    state = torch.load(saved, weights_only=True)
    later = Tiny()
    later.model.load_state_dict(state["model"])
    second = later.optimizer(resolved(optim))
    second.load_state_dict(state["optimizer"])
    for _ in range(3):
        later.draw()
    for _ in range(3):
        whole.draw()
        later.draw()
        optimizer.step()
        second.step()
    for name, value in whole.values().items():
        assert (value == later.values()[name]).all(), name


# When Sophia estimates is the trainer's business: see test_sophia.
ARGUMENTS = [
    (optim, argument) for optim in HERE for argument in OPTIMIZER_DEFAULTS[optim] if argument != "estimation_interval"
]


@pytest.mark.parametrize(("optim", "argument"), ARGUMENTS)
def test_each_argument_changes_the_steps(optim: str, argument: str) -> None:
    changed = {"epsilon": 0.1, "decay_rate": -0.1, "clip_threshold": 0.1, "rho": 9.0, "ns_steps": 1}
    changed["nesterov"] = not OPTIMIZER_DEFAULTS[optim].get("nesterov")
    common = {"momentum": 0.9} if argument == "nesterov" else {}
    ends = []
    for given in (common, common | {argument: changed.get(argument, 0.5)}):
        tiny = Tiny()
        optimizer = tiny.optimizer(resolved(optim, **given))
        for _ in range(3):
            tiny.draw()
            if optim == "sophia":
                optimizer.observe(9)
            optimizer.step()
        ends.append(tiny.values())
    assert any((ends[0][name] != ends[1][name]).any() for name in ends[0])


def test_second_matrices_of_lora_learn_faster_with_lora_plus() -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from peft.optimizers import create_loraplus_optimizer

    tiny = Tiny()
    model = get_peft_model(torch.nn.Sequential(tiny.model.hidden), LoraConfig(target_modules=["0"], use_dora=True))
    tiny.model = model
    ours = tiny.optimizer(resolved("adamw_torch"), lora_b_ratio=16.0)
    theirs = create_loraplus_optimizer(model, torch.optim.AdamW, lr=RATE, loraplus_lr_ratio=16.0)
    rates = [
        {parameter: group["lr"] for group in optimizer.param_groups for parameter in group["params"]}
        for optimizer in (ours, theirs)
    ]
    assert rates[0] == rates[1]
    assert {RATE, 16 * RATE} == set(rates[0].values())


# Rates at which a tiny model gets somewhere; those that are not named take that of AdamW.
RATES = {"lion": 1e-3, "sgd": 0.3}
ROWS = [{"prompt": f"{a}+{b}=", "completion": f" {a + b}"} for a in range(10) for b in range(4)]


@pytest.mark.methods("optimiser")
@pytest.mark.parametrize(
    "optim", [pytest.param(optim, marks=pytest.mark.slow if optim == "muon" else ()) for optim in HERE]
)
def test_a_job_learns_with_it(lab: Any, base: Any, optim: str, record_property: Any) -> None:
    """Twenty steps take at least half a nat off the loss."""
    spec = {
        "method": "sft",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("rows.jsonl", ROWS)],
        "training": {
            "maxLength": 32,
            "maxSteps": 20,
            "loggingSteps": 1,
            "learningRate": RATES.get(optim, 5e-3),
            "optim": optim,
        },
    }
    trainer = lab.build(lab.context("learns", spec, base)).trainer
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    record_property("loss", f"{losses[0]:.2f} → {losses[-1]:.2f}")
    assert losses[-1] < losses[0] - 0.5


@pytest.mark.gpu  # bitsandbytes is in the image for CUDA alone
@pytest.mark.parametrize(("optim", "bits", "paged"), [("adamw_8bit", 8, 0), ("paged_adamw_32bit", 32, 1)])
def test_bitsandbytes_is_told_bits_and_pages(optim: str, bits: int, paged: int) -> None:
    optimizer = Tiny().optimizer(resolved(optim))
    assert type(optimizer).__module__.startswith("bitsandbytes.")
    assert (optimizer.args.optim_bits, optimizer.is_paged) == (bits, bool(paged))
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)


def test_bitsandbytes_is_missed_with_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", None)
    with pytest.raises(InvalidSpec, match=r"optim: AdamW in 8 bits or paged needs bitsandbytes.*use adamw_torch_fused"):
        Tiny().optimizer(resolved("adamw_8bit"))
