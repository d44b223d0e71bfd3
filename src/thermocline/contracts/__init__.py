"""What a kind of problem and a kind of input offer, and what they are given: the two seams of the package."""
