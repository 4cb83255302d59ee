"""One file a dialect: its routes, its request bodies, its replies."""
