"""Container images of projects: which files, which dependencies, the Dockerfile, who builds it."""
