"""Reward models: sequence classifiers that read prompt and completion as text and give one score."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.data.encode import Encoder
from tunesmith_trainer.models.classifier import load_classifier
from tunesmith_trainer.models.places import find_folders
from tunesmith_trainer.models.tokenizers import ensure_chat_template

if TYPE_CHECKING:
    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.models.classifier import Classifier
    from tunesmith_trainer.rewards.base import Batch, Failures, Scores

_log = logging.getLogger(__name__)


def model_reward(context: RunContext, name: str, field: str) -> ModelReward:
    """Return the reward that a model of the run gives.

    Args:
        context: The run.
        name: Name of the reward.
        field: The field that names the model, for messages.

    Raises:
        ModelNotFound: It is missing or not whole.
        InvalidSpec: It is no classifier with one score.
    """
    spec = context.run.spec
    folders = find_folders(context, context.run.reward_models[name], field)
    classifier = load_classifier(folders.base, folders.adapter, spec.model.dtype, spec.model)
    where = (folders.adapter or folders.base).name
    return ModelReward(classifier, where, batch_size=spec.training.per_device_train_batch_size)


class ModelReward:
    """The score of a classifier, made as its own training made it: its tokenizer, its chat template, the end marked."""

    def __init__(self, classifier: Classifier, name: str, *, batch_size: int) -> None:
        """Make one.

        Args:
            classifier: The model and its tokenizer.
            name: The model as the user knows it, for messages.
            batch_size: Completions to score at a time.
        """
        from accelerate import PartialState

        self._model = classifier.model.to(PartialState().device)
        self.tokenizer = classifier.tokenizer
        self._name = name
        self._batch_size = batch_size
        positions = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)
        self._encoder = Encoder(self.tokenizer, positions or self.tokenizer.model_max_length, "left")
        self._told_cut = False

    def __call__(self, batch: Batch, failures: Failures) -> Scores:
        """Return the score of each completion."""
        ids = self._ids(batch)
        # Alike lengths together, so that little is padding.
        order = sorted(range(len(ids)), key=lambda place: len(ids[place]))
        scores: Scores = [None] * len(ids)
        for start in range(0, len(order), self._batch_size):
            places = order[start : start + self._batch_size]
            for place, score in zip(places, self._scores([ids[place] for place in places]), strict=True):
                if math.isfinite(score):
                    scores[place] = score
                else:
                    failures.add(f"{self._name} gives no finite score")
        return scores

    def _ids(self, batch: Batch) -> list[list[int]]:
        """Return the token ids of prompts and completions; those too long for the model lose their beginning."""
        # Both are texts, or both are chats.
        wholes: list[Any] = [one + other for one, other in zip(batch.prompts, batch.completions, strict=True)]  # type: ignore[operator]
        ids: list[list[int]] = [[]] * len(wholes)
        for kind in (str, list):
            places = [place for place, whole in enumerate(wholes) if isinstance(whole, kind)]
            if places and kind is list and ensure_chat_template(self.tokenizer):
                _log.warning("%s has no chat template; chats are put to it as ChatML", self._name)
            encoded = self._encoder.encode([self._encoder.finish(wholes[place]) for place in places]) if places else []
            for place, each in zip(places, encoded, strict=True):
                ids[place] = each
        cut = [self._encoder.cut(each) for each in ids]
        if cut != ids and not self._told_cut:
            self._told_cut = True
            longest = self._encoder.max_length
            _log.warning("%s reads at most %d tokens: prompts lose their beginning (told once)", self._name, longest)
        return cut

    def _scores(self, rows: list[list[int]]) -> list[float]:
        import torch

        padded = self.tokenizer.pad({"input_ids": rows}, return_tensors="pt").to(self._model.device)
        with torch.inference_mode():
            scores: list[float] = self._model(**padded).logits[:, 0].float().tolist()
        return scores
