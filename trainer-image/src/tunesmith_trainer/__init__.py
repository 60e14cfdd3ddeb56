"""What runs in the pods of a Tunesmith job: TRL, driven by the job's own specification.

`__main__` supervises; `worker` is one training process: data → model → method → checkpoints → output.
"""

__version__ = "0.1.0"
