"""From footage to batches: clips, scans for cuts and repeats, crops on disk, augmentation."""
