"""What makes frozen cheap, and says what a plan costs."""
