"""Floor 9: models in int8, made from calibration texts and held to a quality gate."""
