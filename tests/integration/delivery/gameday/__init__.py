"""Game days: a bad release has to go while one or two other things are broken; the catalogue says which."""
