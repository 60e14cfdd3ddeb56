"""Version v1alpha1 of the API, split by block of the spec."""

from tunesmith_api.v1alpha1.jobs import AlignmentJob, AlignmentJobSpec, FineTuneJob, FineTuneJobSpec, JobSpec

__all__ = ["AlignmentJob", "AlignmentJobSpec", "FineTuneJob", "FineTuneJobSpec", "JobSpec"]
