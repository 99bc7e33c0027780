"""Named recipes and what is done with them: one run, a sweep of many, records, and published values beside them.

A recipe (`recipes`) with a category and a seed is a run (`run`); it leaves a record (`record`), which `sweep`,
`compare`, `showcase` and `page` read.
"""
