"""What a run leaves for people: metric history, model card, report page. Pure: facts in, text out."""
