"""The specs of every instance type and their parts."""
