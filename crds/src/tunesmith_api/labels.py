"""Names that Tunesmith puts on Kubernetes objects it creates. Objects of the user carry none of them."""

from __future__ import annotations

GROUP = "tunesmith.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
FIELD_MANAGER = "tunesmith"

MANAGED_BY = "app.kubernetes.io/managed-by"
COMPONENT = "app.kubernetes.io/component"
JOB_KIND = f"{GROUP}/job-kind"
JOB_NAME = f"{GROUP}/job-name"
JOB_UID = f"{GROUP}/job-uid"
RUN_ID = f"{GROUP}/run-id"
ATTEMPT = f"{GROUP}/attempt"
PREPARATION = f"{GROUP}/preparation"
RUN_DIGEST = f"{GROUP}/run-digest"  # an annotation: which frozen run an attempt was made from

# Set by the training operator on every pod of a PyTorchJob.
REPLICA_INDEX = "training.kubeflow.org/replica-index"
PYTORCHJOB_NAME = "training.kubeflow.org/job-name"
# Set by the Job controller on every pod of a Job.
BATCH_JOB_NAME = "batch.kubernetes.io/job-name"
