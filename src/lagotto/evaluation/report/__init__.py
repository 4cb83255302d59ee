"""A `Report` for people: one HTML page that holds everything, and Markdown with the same tables."""
