"""Running a network over data without leaving a trace."""
