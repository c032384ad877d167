"""What each route does: call the service, render what it says. One file a resource."""
