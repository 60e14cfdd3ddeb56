"""A reward model tells answers up from answers down that it has not seen; with labels swapped it prefers the others."""

from pathlib import Path
from typing import Any

import pytest
from sorting import CONTROL, SEEDS, Task, preferences

pytestmark = pytest.mark.timeout(1500)  # the first of a seed makes its start
ACCURACY = 0.95


def judged(folder: Path, held_out: list[Task]) -> float:
    """Return the share of held-out tasks whose answer up has the higher reward, by plain Transformers."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    with torch.no_grad():
        up, down = (
            model(**tokenizer([text + tokenizer.eos_token for text in texts], return_tensors="pt")).logits[:, 0]
            for texts in ([task.prompt + task.up for task in held_out], [task.prompt + task.down for task in held_out])
        )
    return float((up > down).float().mean())


def accuracy_of(lab: Any, train: Any, start: Any, *, swapped: bool = False) -> float:
    dataset = lab.put("preferences.jsonl", preferences(start.training, swapped=swapped))
    folder = train("reward", dataset, {"maxSteps": 60, "perDeviceTrainBatchSize": 32, "learningRate": 5e-4})
    return judged(folder, start.held_out)


@pytest.mark.methods("method")
@pytest.mark.parametrize("seed", SEEDS)
def test_held_out_pairs_are_told_apart(lab: Any, train: Any, start: Any, seed: int, record_property: Any) -> None:
    accuracy = accuracy_of(lab, train, start)
    record_property("accuracy", accuracy)
    assert accuracy >= ACCURACY


@pytest.mark.methods("method")
@pytest.mark.parametrize("seed", SEEDS)
def test_swapped_labels_turn_the_judgement(lab: Any, train: Any, start: Any, seed: int, record_property: Any) -> None:
    accuracy = accuracy_of(lab, train, start, swapped=True)
    record_property("accuracy", accuracy)
    assert accuracy < CONTROL
