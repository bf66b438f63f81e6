"""What becomes of pictures from use: which labels count, which images are refused, who trains.

Pure functions on arrays, without the journal's files: pipeline/stages/collect.py reads those.
"""
