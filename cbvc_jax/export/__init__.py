"""The decoder outside of this program: one file a format, one file a backend, and the check that all agree.

    model --formats--> manifest.json + one program a kind of frame --backends--> frames

What is exported is a step: indices of one frame, and y_ref and skipped blocks of a predicted one, to the picture and
y_hat. Everything around it, from the bytes to the fill of the grids and the rounding to 8 bits, is integers and NumPy
on every backend.
"""
