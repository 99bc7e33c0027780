"""Figures: image panels, contact sheets and charts of results, in one style.

`figures` has a function for each kind; `sheets` writes the twin's contact sheets for the book.
"""
