"""What must hold when processes die, disks fill and databases go."""
