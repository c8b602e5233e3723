"""Parts of a study file that have rules of their own."""
