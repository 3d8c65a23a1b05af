"""What was logged, as files: chosen from the journal, written in constant memory, one module a format."""
