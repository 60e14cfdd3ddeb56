"""The steps of a decision, one file each: pure functions that decide, or leave it to the next step."""
