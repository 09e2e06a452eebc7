"""Processes that work for this one, within a memory limit: a stranger's file may end them without harm."""
