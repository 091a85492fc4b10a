"""The model file: everything that knows its format."""
