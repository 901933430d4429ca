"""The server's addresses, a file a resource."""
