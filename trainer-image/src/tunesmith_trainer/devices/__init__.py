"""What a training process needs to know about the machine it runs on; no torch here, so that it costs nothing."""
