"""`python -m tunesmith_trainer generate`: try a base model, an adapter or a merged model."""
