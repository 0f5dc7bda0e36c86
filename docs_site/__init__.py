"""What makes the documentation site, beside the pages in docs/."""
