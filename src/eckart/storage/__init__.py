"""Files and folders: each is there whole or not at all."""
