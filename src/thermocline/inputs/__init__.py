"""What a column holds: a folder for each kind of input."""
