"""Images of a data root: categories and samples (mvtec), folders of other data sets (layouts), lists of images (tables),
decoding and framing (images, cache), anomaly maps (maps), checks of a root (check) and MVTec AD's archive (archive).
"""
