"""What everything stands on, and nothing of pictures: settings, limits, processes."""
