"""The steps of every fit and every use of a model: prepare, assemble, fit, explain, resume, predict, save, load."""
