"""Files that lie at an address: parts of them, asked for over HTTP, from nobody but whom the address names."""
