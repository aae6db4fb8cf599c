"""The Cauldron: questions on pictures, from its published Parquet files."""
