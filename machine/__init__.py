"""What everything stands on, and nothing of pictures: errors, settings, files, processes."""
