"""When: phases, the cursor of a run, and the rate of every layer at a step."""
