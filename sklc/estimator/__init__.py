"""The scikit-learn surface: LCCompressor."""
