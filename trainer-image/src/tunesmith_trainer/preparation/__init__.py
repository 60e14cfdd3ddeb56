"""`python -m tunesmith_trainer prepare`: data and model are checked on a CPU before an accelerator is asked for."""
