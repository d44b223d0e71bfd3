"""What a fitted model reads and answers, and what it goes by: rows and results shown, importance, attribution."""
