"""Images of a data root: categories and samples (mvtec), decoding and framing (images, cache), anomaly maps (maps),
checks of a root (check) and MVTec AD's archive (archive).
"""
