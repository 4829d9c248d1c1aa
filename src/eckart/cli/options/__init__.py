"""Options that commands share, and the objects that their strings stand for."""
