"""What layers and plans cost, estimated from shapes."""
