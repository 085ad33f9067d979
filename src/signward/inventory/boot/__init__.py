"""What a machine starts from, read and never written: UEFI variables, EFI files, modules."""
