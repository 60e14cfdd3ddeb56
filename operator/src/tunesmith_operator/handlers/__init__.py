"""What happens on a watch event: a job's key is put into the queue. Nothing is decided here."""
