"""The loop that carries a plan out, and what it needs."""
