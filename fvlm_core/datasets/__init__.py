"""What data-set plugins share: tables, archives and folders of a download, and shards."""
