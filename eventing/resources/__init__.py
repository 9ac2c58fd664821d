"""The YAML kinds as models, and the loader that names file, line and column."""
