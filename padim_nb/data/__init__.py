"""Images of a data root: categories and samples (mvtec), other sets' folders (layouts) and lists of images (tables),
decoding and framing (images, cache), hashes (contents), anomaly maps (maps), checks of a root (check), the archive of
MVTec AD (archive) and what is no longer needed (cleaning).
"""
