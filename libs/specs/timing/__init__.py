"""When an instance is due: schedules, slots, sessions and local time."""
