"""Judging anomaly maps: metrics, bootstrap intervals, thresholds, and the report that has them all.

`evaluate(maps, samples)` in `report` is the entry; `metrics` is exact and works on plain arrays.
"""
