"""Hydra configuration: one group per choice that a user makes."""
