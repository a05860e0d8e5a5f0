"""Naive reports in plain Python: each definition once more, with no thought of speed."""
