"""What Label Studio's projects say and expect: label configs in, regions out. Nothing here asks a server."""
