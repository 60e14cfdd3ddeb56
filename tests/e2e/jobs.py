"""Jobs as small as they can be while they still train: what the end-to-end tests apply."""

import json
from pydoc_data.topics import topics
from typing import Any

Object = dict[str, Any]
API_VERSION = "tunesmith.dev/v1alpha1"
TEXTS = "texts"
QUESTIONS = "questions"
_RESOURCES = {"requests": {"cpu": "300m", "memory": "700Mi"}, "limits": {"memory": "3Gi"}}
_ARCHITECTURE = {
    "hiddenSize": 64,
    "intermediateSize": 128,
    "numHiddenLayers": 2,
    "numAttentionHeads": 4,
    "maxPositionEmbeddings": 256,
    "tieWordEmbeddings": True,
}


def job(name: str, spec: Object, kind: str = "FineTuneJob") -> Object:
    """Return a job with the defaults of every test: CPU, little memory, its own small claim."""
    defaults = {
        "accelerator": "cpu",
        "resourcesPerNode": _RESOURCES,
        "output": {"claimTemplate": {"size": "1Gi", "accessModes": ["ReadWriteOnce"]}},
    }
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": name}, "spec": {**defaults, **spec}}


def dataset(name: str, key: str = "train.jsonl", **more: Any) -> Object:
    """Return a dataset of a ConfigMap."""
    return {"configMap": {"name": name, "key": key}, **more}


def pretrain(name: str, *, steps: int = 20, save_steps: int = 10, **spec: Any) -> Object:
    """Return a job that trains from random weights on the namespace's texts.

    Args:
        name: Its name.
        steps: Optimiser steps; without more, one takes about 30 ms on an idle core.
        save_steps: Steps between two checkpoints.
        spec: Further fields; `training` is merged.
    """
    training = {
        "maxSteps": steps,
        "perDeviceTrainBatchSize": 4,
        "maxLength": 64,
        "loggingSteps": 1,
        "learningRate": 0.003,
    }
    merged = {
        "method": "pretrain",
        "model": {"architecture": _ARCHITECTURE, "tokenizer": {"train": {"vocabSize": 512}}},
        "datasets": [dataset(TEXTS)],
        "checkpoint": {"saveSteps": save_steps},
        **spec,
        "training": {**training, **spec.get("training", {})},
    }
    return job(name, merged)


def slow_pretrain(name: str, *, steps: int = 120, save_steps: int = 10, **spec: Any) -> Object:
    """Return a job whose steps take long enough to be interrupted, a tenth to a quarter of a second each."""
    training = {"perDeviceTrainBatchSize": 16, "maxLength": 256, **spec.pop("training", {})}
    return pretrain(name, steps=steps, save_steps=save_steps, training=training, **spec)


def sft(name: str, base: str, **spec: Any) -> Object:
    """Return a LoRA job on the model of another job."""
    training = {"maxSteps": 20, "perDeviceTrainBatchSize": 4, "maxLength": 64, "loggingSteps": 1, "learningRate": 0.003}
    merged = {
        "method": "sft",
        "model": {"fromJob": {"name": base}},
        "peft": {"lora": {"r": 8, "loraAlpha": 16}},
        "datasets": [dataset(QUESTIONS)],
        **spec,
        "training": {**training, **spec.get("training", {})},
    }
    return job(name, merged)


def texts(rows: int = 200) -> str:
    """Return rows of real text: paragraphs of Python's own reference."""
    paragraphs = (part.strip() for topic in sorted(topics) for part in topics[topic].split("\n\n"))
    kept = [" ".join(part.split()) for part in paragraphs if len(part) > 100]
    return "".join(json.dumps({"text": text}) + "\n" for text in kept[:rows])


def questions(rows: int = 100) -> str:
    """Return prompts and completions: a topic of Python's reference and how its text begins."""
    pairs = ({"prompt": f"{topic}: ", "completion": " ".join(topics[topic].split())[:120]} for topic in sorted(topics))
    return "".join(json.dumps(pair) + "\n" for pair in list(pairs)[:rows])
