"""Objectives (what is learned), tasks (a model with its objectives) and the loop (how)."""
