"""The contract of Tunesmith: API types, and the seam between the operator and the trainer.

Both sides import these classes, so a field, a label, an exit code or a path is declared once.
"""
