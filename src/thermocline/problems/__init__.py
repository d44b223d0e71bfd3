"""What a label asks for: a folder for each kind of problem."""
