"""Tests of the images, the commands in docker/, and the stack. Run `make test-containers`."""
