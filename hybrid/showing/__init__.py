"""Pictures and tables, drawn from kept data."""
