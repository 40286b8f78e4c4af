"""Files out of restore points: looked at, downloaded, put back into a machine."""
