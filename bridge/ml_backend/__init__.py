"""Models as ML backends of Label Studio: what it asks for, answered in time, or written by a job."""
