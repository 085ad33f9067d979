"""Walking trees, classifying files, opening containers, caching verdicts."""
