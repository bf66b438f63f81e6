"""Images that show none of a task's classes, drawn by seeded generators.

The detector is trained on the kinds of `kinds.training_kinds`. What it has learned is measured on
those of `kinds.held_out_kinds`, drawn by other code, in other fonts and from other images.

`characters` draws letters and signs in fonts, `drawings` lines and noise, `composites` changes
images of the classes until they show none; `form` brings ink into the form of the data set.
"""
