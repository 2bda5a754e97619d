"""A folder of pictures with a CSV of votes."""
