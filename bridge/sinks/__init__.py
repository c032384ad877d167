"""Where the shapes of a job go."""
