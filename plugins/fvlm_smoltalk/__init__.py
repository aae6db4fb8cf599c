"""SmolTalk: chats of text alone, from its published Parquet files."""
