"""Find and drop poisoned training examples while a model trains."""
