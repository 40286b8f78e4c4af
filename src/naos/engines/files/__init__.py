"""Reading the file systems of a restore point where it is kept, by a process that can do nothing else."""
