"""Its being here lets the tests of every folder below import `contracts`."""
