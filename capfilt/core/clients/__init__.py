"""What clients of servers share. Standard library only, because models/ uses it and installs without pydantic."""
