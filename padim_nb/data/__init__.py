"""Images of a data root: categories and samples (mvtec), other sets' folders (layouts) and lists of images (tables),
decoding and framing (images, cache), hashes (contents), anomaly maps (maps), checks of a root (check), MVTec AD's archive
(archive) and what is no longer needed (cleaning).
"""
