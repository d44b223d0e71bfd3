"""What layers and plans cost, forecast from shapes."""
