"""Files that an exported folder takes along as they are: nothing in them imports fvlm."""
