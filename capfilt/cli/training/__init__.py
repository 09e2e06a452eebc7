"""Commands for models: list, try, train, evaluate, bootstrap."""
