"""Networks to ONNX files and from them, and ONNX models on arrays of any library (``xpnet.onnx.backend``)."""
