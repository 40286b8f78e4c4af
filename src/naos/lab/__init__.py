"""The one-machine rack: hosts are network namespaces of this machine, and nothing outside them is touched."""
