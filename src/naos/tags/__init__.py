"""Keys and values that users put on resources."""
