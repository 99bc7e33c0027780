"""A saved detector in use: scoring of new image files (scoring), one ONNX graph (export, needs the extra `onnx`)."""
