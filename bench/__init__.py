"""Benchmarks: one script for each table of RESULTS.md, run as `python -m bench.<name>` from the repository's root."""
