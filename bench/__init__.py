"""Measurements: speed and memory as ratios against a named yardstick in the same run."""
