"""The stages on Ray: the only folder that knows it."""
