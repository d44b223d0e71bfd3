"""Reports on labelled rows: scores with intervals, tables and pictures, and the rows with the highest loss."""
