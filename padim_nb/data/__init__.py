"""Images of a data root: categories and samples (mvtec), other sets' folders (layouts) and lists of images (tables),
decoding and framing (images, cache), anomaly maps (maps), checks of a root (check) and MVTec AD's archive (archive).
"""
