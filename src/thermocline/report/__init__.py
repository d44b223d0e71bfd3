"""What is printed and shown during and after a fit."""
