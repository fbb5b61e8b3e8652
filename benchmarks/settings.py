"""Settings that both sides of a training case share."""

LEARNING_RATE = 1e-5
BETA = 0.1
