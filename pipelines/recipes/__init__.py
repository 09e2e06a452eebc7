"""Recipes that ship, one TOML file each, and how a recipe is read."""
