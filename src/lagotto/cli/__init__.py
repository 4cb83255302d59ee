"""Floor 10: the ``lagotto`` command. Each verb parses its options, calls the library and prints."""
