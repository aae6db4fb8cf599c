"""RLAIF-V: pairs of answers on pictures, a better and a worse one, from its published Parquet files."""
