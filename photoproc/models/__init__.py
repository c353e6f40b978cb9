"""The models: what exists, where its weights come from, and running it."""
