"""What a user reads while and after work goes on."""
