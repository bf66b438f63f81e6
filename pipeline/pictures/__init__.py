"""Pictures as people have them, brought into the form of a model's images.

- Reading: `reading` opens files and standard input, `decoding` and `grey` make pixels of picture
  files, `file_types` says what other files are.
- Form: `normal_form` finds the ink of one character, scales and centres it, with what `paper` and
  `marks` know of ink on paper. The form itself is the task's, and travels in the model signature.
- Images: `images` checks shape and scale of arrays, `batch` keeps errors beside the images.
"""
