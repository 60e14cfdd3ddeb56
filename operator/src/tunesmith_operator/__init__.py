"""The Tunesmith operator: FineTuneJob and AlignmentJob become PyTorchJobs, one per attempt.

One pass over a job reads gather → decide → apply → status; only `decide` and what it calls know the rules, and they are
pure functions of a frozen `Inputs`.
"""

__version__ = "0.1.0"
