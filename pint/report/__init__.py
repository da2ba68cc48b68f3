"""What a run leaves behind: wall time by phase, histories as tables, memory, files."""
