"""Mixed traffic against a server of its own, for as long as one likes: what it answers, how fast, and what grows."""
