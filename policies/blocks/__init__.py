"""Building blocks of learned policies; a model file composes them and reads like its diagram."""
