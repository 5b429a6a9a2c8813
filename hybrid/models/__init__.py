"""Networks and their losses. They know nothing of files, profiles' names or progress bars."""
