"""Pictures as people have them, converted to the form of a model's images.

- Reading: `reading` opens files and standard input, `decoding` and `grey` turn picture files into
  pixels, `file_types` recognises other files.
- Form: `normal_form` finds the ink of one character, scales and centres it; `paper` separates ink
  from paper, `marks` a character from other marks. The form itself comes from the task, and travels
  in the model signature.
- Images: `images` validates shape and scale of arrays, `batch` keeps errors beside the images.
"""
