"""Request bodies, one file a dialect; replies are built by hand, since vectors are large."""
