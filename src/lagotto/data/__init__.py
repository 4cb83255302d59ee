"""Floor 6: records, read strictly: every error names the file and the line."""
