"""What a recipe says of a data set, and what the data set is: a file each. Nothing here imports anything heavy."""
