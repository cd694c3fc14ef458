"""Small recorded video clips and the scripts that record them."""
