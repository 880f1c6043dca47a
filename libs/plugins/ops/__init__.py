"""The common ops of quantitative finance, each with its formula, as entry points.

``x_t`` is the value in a symbol's row ``t``; a window of ``d`` is the symbol's last ``d`` rows up
to and including ``t`` (its own rows: a day on which a symbol has no row does not count). A window
that is not full, or that holds a missing value, gives a missing value. Cross-sections take the rows
of one date and ignore missing values. A value that is not finite is missing.

Aliases are the names of the 101 formulaic alphas (Kakushadze 2016) and their ``ts_`` forms.
"""
