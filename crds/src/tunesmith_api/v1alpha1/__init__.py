"""Version v1alpha1 of the API, split by block of the spec."""

from tunesmith_api.v1alpha1.alignment import AlignmentJobSpec
from tunesmith_api.v1alpha1.fine_tuning import FineTuneJobSpec
from tunesmith_api.v1alpha1.jobs import AlignmentJob, FineTuneJob
from tunesmith_api.v1alpha1.spec import JobSpec

__all__ = ["AlignmentJob", "AlignmentJobSpec", "FineTuneJob", "FineTuneJobSpec", "JobSpec"]
