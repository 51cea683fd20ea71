"""What pages are made of: a shell that asks for nothing, safe markup, tables, figures and pictures."""
