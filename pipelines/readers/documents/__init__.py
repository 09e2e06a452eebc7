"""JSON documents that hold many rows: one class a shape."""
