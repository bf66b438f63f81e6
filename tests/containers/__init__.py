"""Tests of the images, of the commands in docker/ and of the stack: make test-containers."""
