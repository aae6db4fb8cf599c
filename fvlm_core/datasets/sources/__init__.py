"""What data-source plugins share: rows of large files, videos in folders and archives, splits. Through `interfaces`."""
