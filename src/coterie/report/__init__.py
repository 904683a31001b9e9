"""Reports of finished runs: one HTML file that needs no network, and its figures as PNG and SVG.

Nothing here runs inside a TEE or is needed for training: a report is made from the files that a run
leaves, by the person who started it, on any machine. The libraries that draw and render
(Matplotlib, Jinja) are therefore in the optional dependencies ``coterie[report]`` and not in the
enclave image.
"""
