"""Floor 9: the HTTP server. One file a dialect; the event loop parses and routes, threads compute."""
