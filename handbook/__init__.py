"""Makes and checks what the documentation says: generated tables, executed examples, the built site."""
