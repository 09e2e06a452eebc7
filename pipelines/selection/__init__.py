"""What is kept: SQL policies over stored scores."""
