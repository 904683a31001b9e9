"""The exchange's arithmetic: sums, updates, rows and packing, in C where it was built, else in NumPy."""
