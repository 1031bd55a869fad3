"""What every room stands on: errors, records, events, settings, paths, files on the disk."""
