"""Comparing policies online: designs of experiments, what they estimate, and gates on them.

Designs: twins of one world (the exact effect), split traffic, switchback, team-draft interleaving.
All return `evaluation.ab.effect.Effect`, so that an estimate stands beside the truth.
"""
