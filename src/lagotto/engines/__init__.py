"""Floor 3: run a forward pass. Engines see integers and give arrays; they never see text."""
