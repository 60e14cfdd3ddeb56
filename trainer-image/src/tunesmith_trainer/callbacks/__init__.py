"""What happens between the steps of a transformers.Trainer, one concern a file."""
