"""Image columns: pixels and an image backbone."""
