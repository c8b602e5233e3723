"""From trained runs to use: load a study's models, and score images with them."""
