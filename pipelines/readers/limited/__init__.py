"""Reading in a process of its own, which has a memory limit and may die without harm."""
