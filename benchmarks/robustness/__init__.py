"""What happens to files when runs are killed, and when files are damaged."""
