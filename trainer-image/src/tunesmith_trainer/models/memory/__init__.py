"""How much memory a training needs of one device, before any weight is built, and which setting would fit."""

from tunesmith_trainer.models.memory.estimate import MemoryEstimate, estimate
from tunesmith_trainer.models.memory.fit import Fit, nearest_fit
from tunesmith_trainer.models.memory.shape import ModelShape, meta_model
from tunesmith_trainer.models.memory.workload import Workload

__all__ = ["Fit", "MemoryEstimate", "ModelShape", "Workload", "estimate", "meta_model", "nearest_fit"]
