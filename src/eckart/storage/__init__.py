"""Files and folders. Each is written completely or not at all."""
