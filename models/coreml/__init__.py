"""The stages' graphs as Core ML programs: written from the ONNX graphs on any platform, read back, and computed by
NumPy. Core ML itself computes on macOS only."""
