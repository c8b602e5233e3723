"""Everything that lies on disk: names, atomic writes, study and run folders, leases, metrics, events."""
