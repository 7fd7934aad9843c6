"""The learning-compression algorithm: its loop, and who consumes the iterates."""
