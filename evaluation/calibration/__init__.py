"""Calibration: do predicted probabilities mean what they say, and how to make them.

reliability    curves, ECE and PCOC by group, against labels or against the true probability
recalibration  isotonic and temperature maps from predicted to calibrated probabilities
"""
