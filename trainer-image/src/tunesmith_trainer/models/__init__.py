"""Models, adapters and tokenizers: from a folder, from an earlier job, or new."""
