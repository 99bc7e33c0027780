"""Our own shortcut to a student, not the paper's: random filters and one least-squares layer, fitted in a minute.

`detector.py` fits, `solution.py` solves the layer, `weighing.py` whitens, standardizes and weighs the differences. The
networks, their graph and the teacher are EfficientAD's.
"""
