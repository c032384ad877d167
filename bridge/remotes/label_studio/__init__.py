"""Projects of Label Studio as tasks: its REST API, its images, its predictions."""
