"""A line-up: all models side by side over several seeds, and what was reported of each beside."""
