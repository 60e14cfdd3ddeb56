"""What is told about a job: pure functions from what is seen to the status that is written."""
