"""Dials: what turning each of the world's dials moves, and that it moves nothing else."""
