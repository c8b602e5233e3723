"""From run folders to a page that people read. Reads files alone: nothing here trains or imports torch."""
