"""Text columns: token ids and a text backbone."""
