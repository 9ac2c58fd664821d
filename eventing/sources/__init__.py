"""What brings events in and takes them out."""
