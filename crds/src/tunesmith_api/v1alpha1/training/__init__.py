"""`spec.training`: the common arguments of transformers.TrainingArguments, in its terms."""

from tunesmith_api.v1alpha1.training.block import Training

__all__ = ["Training"]
