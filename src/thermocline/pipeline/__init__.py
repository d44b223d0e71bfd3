"""The road that every fit takes: prepare, assemble, fit, explain, resume, predict, save, load."""
