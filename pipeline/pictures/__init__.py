"""Converts pictures of any kind to the form of a model's images.

- Reading: `reading` opens files and standard input, `decoding` and `grey` turn picture files into
  pixels, `file_types` recognises other files.
- Form: `normal_form` finds the ink of one character, scales and centres it. `sheets` cuts out a
  sheet on a desk, `paper` separates ink from paper, `ruling` removes lines, `marks` tells a
  character from other marks. The task defines the form, and the model signature records it.
- Images: `images` validates shape and scale of arrays, `batch` pairs images with errors.
"""
