"""Files that ship into the model repository and run inside Triton; each folder is one kind of door."""
