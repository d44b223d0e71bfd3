"""The centre of the house: what a model's layers are, and what every layer does."""
