"""Sophia's curvature: what the trainer estimates is the Gauss-Newton diagonal, as often as asked."""

from typing import Any

import pytest

ROWS = [{"prompt": f"{a}=", "completion": " one two"} for a in range(8)]


def build(lab: Any, base: Any, **training: Any) -> Any:
    settings = {"maxLength": 32, "maxSteps": 4, "loggingSteps": 1, "learningRate": 1e-3, "optim": "sophia"}
    spec = {
        "method": "sft",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("rows.jsonl", ROWS)],
        "training": settings | {"perDeviceTrainBatchSize": 2} | training,
    }
    return lab.build(lab.context("sophia", spec, base)).trainer


def test_the_mean_of_many_estimates_is_the_gauss_newton_diagonal(lab: Any, base: Any) -> None:
    """For the head it has a closed form: tokens x mean over tokens of p (1 - p) times the squared hidden state."""
    import torch

    trainer = build(lab, base)
    model, sophia = trainer.model, trainer.create_optimizer()
    inputs = trainer.data_collator([trainer.train_dataset[place] for place in range(4)])
    labels = inputs["labels"]
    scored = labels[:, 1:] != -100
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        outputs = model(inputs["input_ids"], attention_mask=inputs["attention_mask"], output_hidden_states=True)
        chances = outputs.logits[:, :-1][scored].softmax(-1)
        hidden = outputs.hidden_states[-1][:, :-1][scored]
        expected = (chances * (1 - chances)).T @ hidden.square() / len(hidden)
    sums = torch.zeros_like(head)
    for group in sophia.param_groups:
        group["betas"] = (0.96, 0.0)
    torch.manual_seed(0)
    for _ in range(150):
        trainer._estimate_curvature(model, sophia, dict(inputs))
        sums += sophia.state[head]["curvature"]
    assert all(parameter.grad is None for parameter in model.parameters()), "nothing is left for the step"
    assert float((sums / 150).sum()) == pytest.approx(float(expected.sum()), rel=0.1)
    rows = expected.sum(1).topk(5).indices
    assert (sums / 150)[rows].sum(1).numpy() == pytest.approx(expected[rows].sum(1).numpy(), rel=0.35)


@pytest.mark.parametrize(("interval", "estimates"), [(2, 2), (10, 1)])
def test_it_is_estimated_as_often_as_asked(lab: Any, base: Any, interval: int, estimates: int) -> None:
    arguments = {"optimArgs": {"estimationInterval": interval}, "gradientAccumulationSteps": 2}
    trainer = build(lab, base, **arguments)
    seen = []
    estimate = trainer._estimate_curvature

    def watched(*given: Any) -> None:
        seen.append(trainer.state.global_step)
        estimate(*given)

    trainer._estimate_curvature = watched
    trainer.train()
    assert seen == [interval * number for number in range(estimates)]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
