"""EfficientAD. `detector.py` fits and scores; `pdn.py` has the networks, `model.py` the graph from an image to its map,
`training.py` the losses and the steps, `teacher.py` and `distillation.py` the teacher, `penalty.py` the penalty images.
"""
