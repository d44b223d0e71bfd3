"""One label a row: classes, several labels at once, or a number."""
